import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type HostPort, readHostPort, spellHostPort } from '../../core/host-port.ts';
import type { Log } from '../../core/log.ts';
import { timeLimit } from '../../core/time-limit.ts';
import type { EgressGate, EgressUse } from '../egress-port.ts';
import type { EgressLimits } from './egress.ts';
import { type Reach, reachHost } from './reach.ts';
import { createMeter, joinTunnel, type Meter } from './tunnel.ts';

export type GateInput = Reach & {
  socketPath: string;
  /** Each as `spellHostPort` has it. */
  allowed: ReadonlySet<string>;
  limits: EgressLimits;
  log: Log;
};

const HEADER_BYTES_MAX = 4096;
const HEADERS_TIMEOUT_MS = 5_000;
const HEADERS_CHECK_MS = 1_000;
const REFUSED_MAX = 20;
const REFUSED_CHARACTERS_MAX = 100;

/** A proxy that answers CONNECT (RFC 9110, section 9.3.6) for the allowed hosts, and refuses everything else. */
export async function openGate(input: GateInput): Promise<EgressGate> {
  const state: GateState = {
    meter: createMeter(input.limits.bytesMax),
    refused: new Set(),
    closing: new AbortController(),
    open: new Set(),
  };
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: HEADERS_TIMEOUT_MS,
    connectionsCheckingInterval: HEADERS_CHECK_MS,
    keepAliveTimeout: HEADERS_TIMEOUT_MS,
  });
  server.maxConnections = input.limits.connectionsMax;
  server.on('connection', (socket) => {
    state.open.add(socket);
    socket.on('error', () => {}).once('close', () => state.open.delete(socket));
  });
  server.on('connect', (request, socket, head) => {
    serveConnect(input, state, { request, socket, head }).catch((error: unknown) => {
      input.log.error({ err: error }, 'an egress proxy broke');
      socket.destroy();
    });
  });
  server.on('request', (request, response) => {
    noteRefused(state, request.url ?? '');
    response.writeHead(405, { allow: 'CONNECT', connection: 'close', 'content-type': 'text/plain' });
    response.end('This proxy answers CONNECT only: use https, or CONNECT to the port of a declared host.\n');
  });
  // An Upgrade outside a tunnel is a plain request as well.
  server.on('upgrade', (_request, socket) => refuse(socket, 405, 'This proxy answers CONNECT only.'));
  await listen(server, input.socketPath);
  let closed: Promise<EgressUse> | undefined;
  return {
    socketPath: input.socketPath,
    close() {
      closed ??= shut(server, input, state);
      return closed;
    },
  };
}

type GateState = {
  meter: Meter;
  refused: Set<string>;
  closing: AbortController;
  /** Every socket on either side. */
  open: Set<Duplex>;
};

type ConnectRequest = { request: IncomingMessage; socket: Duplex; head: Buffer };

async function serveConnect(input: GateInput, state: GateState, asked: ConnectRequest): Promise<void> {
  const { request, socket, head } = asked;
  socket.on('error', () => {});
  const host = readAuthority(request.url ?? '');
  if (host === undefined || !input.allowed.has(spellHostPort(host))) {
    noteRefused(state, request.url ?? '');
    return refuse(socket, 403, 'The tool did not declare this host.');
  }
  const limit = timeLimit(state.closing.signal, input.limits.connectTimeoutMs);
  const reached = await reachHost(input, host, limit);
  switch (reached.kind) {
    case 'forbidden':
      noteRefused(state, spellHostPort(host));
      return refuse(socket, 403, 'This host has an address that is not on the open Internet.');
    case 'failed':
      return refuse(socket, reached.isTimeout ? 504 : 502, 'This host could not be reached.');
    case 'connected': {
      const remote = reached.socket;
      state.open.add(remote);
      remote.once('close', () => state.open.delete(remote));
      if (state.closing.signal.aborted || socket.destroyed) {
        remote.destroy();
        socket.destroy();
        return;
      }
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      joinTunnel({ jail: socket, remote, head, meter: state.meter, idleMs: input.limits.idleTimeoutMs });
      return;
    }
    default:
      reached satisfies never;
  }
}

/** `name:port`; the port must be there (RFC 9110, section 9.3.6). */
function readAuthority(authority: string): HostPort | undefined {
  return /:[0-9]+$/.test(authority) ? readHostPort(authority) : undefined;
}

function refuse(socket: Duplex, status: 403 | 405 | 502 | 504, why: string): void {
  const body = `${why}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${REASONS[status]}\r\nContent-Type: text/plain\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

const REASONS = {
  403: 'Forbidden',
  405: 'Method Not Allowed',
  502: 'Bad Gateway',
  504: 'Gateway Timeout',
} as const;

function noteRefused({ refused }: GateState, target: string): void {
  if (refused.size < REFUSED_MAX) refused.add(target.slice(0, REFUSED_CHARACTERS_MAX));
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The path is a secret of the call, and the jail's user is not ours: whoever is given it may connect.
    server.listen(socketPath, () => chmod(socketPath, 0o666).then(resolve, reject));
  });
}

async function shut(server: Server, { socketPath }: GateInput, state: GateState): Promise<EgressUse> {
  const stopped = new Promise((resolve) => server.close(resolve));
  state.closing.abort(new DOMException('The call is over.', 'AbortError'));
  server.closeAllConnections();
  for (const socket of state.open) socket.destroy();
  await stopped;
  await rm(socketPath, { force: true });
  return { bytesUp: state.meter.up, bytesDown: state.meter.down, refused: [...state.refused] };
}
