import { Resolver } from 'node:dns/promises';
import { createConnection, isIPv4, type Socket } from 'node:net';
import type { HostPort } from '../../core/host-port.ts';

/** All addresses of a name. */
export type ResolveName = (name: string, signal: AbortSignal) => Promise<readonly string[]>;

export type Reach = { resolve: ResolveName; isAllowedAddress: (address: string) => boolean };

export type Reached =
  | { kind: 'connected'; socket: Socket }
  /** One of its addresses is not one to be reached, so none is. */
  | { kind: 'forbidden' }
  | { kind: 'failed'; isTimeout: boolean };

const ADDRESSES_MAX = 4;
const QUERY_TIMEOUT_MS = 3_000;
const QUERY_TRIES = 2;

/**
 * Connects to a host by an address that was looked at: the name is resolved once, every answer is checked, and the
 * socket goes to an answer and not to the name, so that a second look-up cannot lead elsewhere (DNS rebinding).
 */
export async function reachHost(reach: Reach, host: HostPort, signal: AbortSignal): Promise<Reached> {
  const addresses = await orAbort(reach.resolve(host.name, signal), signal).catch(() => []);
  if (addresses.some((address) => !reach.isAllowedAddress(address))) return { kind: 'forbidden' };
  // Many machines have no way to IPv6, and find out slowly.
  const ordered = [...addresses].sort((a, b) => Number(isIPv4(b)) - Number(isIPv4(a)));
  for (const address of ordered.slice(0, ADDRESSES_MAX)) {
    if (signal.aborted) break;
    const socket = await connect(address, host.port, signal);
    if (socket !== undefined) return { kind: 'connected', socket };
  }
  return { kind: 'failed', isTimeout: signal.aborted };
}

/**
 * Asks the given name servers, or the machine's, by sockets: `dns.lookup` would hold one of the process's few threads
 * for as long as a hostile name server pleases, and with them files and hashes. `/etc/hosts` is not asked.
 */
export function createResolver(servers?: readonly string[]): ResolveName {
  return async (name, signal) => {
    const resolver = new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES });
    if (servers !== undefined) resolver.setServers(servers);
    const cancel = () => resolver.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
      return answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  };
}

function connect(address: string, port: number, signal: AbortSignal): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: address, port, noDelay: true });
    const finish = (result: Socket | undefined) => {
      signal.removeEventListener('abort', abort);
      socket.off('error', fail);
      if (result === undefined) socket.on('error', () => {}).destroy();
      resolve(result);
    };
    const fail = () => finish(undefined);
    const abort = () => finish(undefined);
    socket.once('connect', () => finish(socket)).once('error', fail);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
}

/** A resolver cannot be told to stop; what it says too late goes nowhere. */
async function orAbort<T>(value: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    void value.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    if (signal.aborted) abort();
  });
}
