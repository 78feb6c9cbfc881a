import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { readHostPort, spellHostPort } from '../../core/host-port.ts';
import type { Log } from '../../core/log.ts';
import { Problem } from '../../core/problem.ts';
import type { EgressGate } from '../egress-port.ts';
import { isPublicAddress } from '../policy/public-address.ts';
import { openGate } from './gate.ts';
import { createResolver, type ResolveName } from './reach.ts';

/** What one gate lets through before it closes. */
export type EgressLimits = {
  /** Both ways together. */
  bytesMax: number;
  /** Open at once. */
  connectionsMax: number;
  connectTimeoutMs: number;
  /** A tunnel through which nothing goes for so long is closed. */
  idleTimeoutMs: number;
};

export type EgressDeps = {
  log: Log;
  /** Where the sockets are: a folder of ours that every jail's user may enter. */
  workDir: string;
  /** All addresses of a name; the machine's name servers are asked when left out. */
  resolve?: ResolveName;
  /** Addresses that may be reached; those of the open Internet when left out. */
  isAllowedAddress?: (address: string) => boolean;
};

export type EgressInput = { hosts: readonly string[]; limits?: Partial<EgressLimits> };

/** The proxies by which jails reach declared hosts, one for each call: an `Egress` whose bounds can be chosen. */
export type EgressProxies = {
  openEgress(input: EgressInput): Promise<EgressGate>;
  /** Closes every gate. */
  close(): Promise<void>;
};

export const DEFAULT_EGRESS_LIMITS: EgressLimits = {
  bytesMax: 32 * 1024 * 1024,
  connectionsMax: 32,
  connectTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
};

const SOCKET = /^[0-9a-f]{24}\.sock$/;
/** The kernel takes no longer path of a unix socket (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;
/** A socket that nobody listens on yet may be about to be listened on. */
const STALE_AFTER_MS = 60_000;

/** Opens CONNECT proxies on unix sockets, each with an exact list of hosts. */
export function createEgress(deps: EgressDeps): EgressProxies {
  const gates = new Set<EgressGate>();
  let ready: Promise<void> | undefined;
  return {
    async openEgress({ hosts, limits }) {
      const allowed = new Set(hosts.map(readDeclared));
      ready ??= prepareFolder(deps).catch((error: unknown) => {
        // The next call looks again.
        ready = undefined;
        throw error;
      });
      await ready;
      const socketPath = join(deps.workDir, `${randomBytes(12).toString('hex')}.sock`);
      if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
        throw new Error(`The folder ${deps.workDir} is too long a path for a unix socket.`);
      }
      const gate = await openGate({
        ...{ socketPath, allowed, log: deps.log },
        limits: { ...DEFAULT_EGRESS_LIMITS, ...limits },
        resolve: deps.resolve ?? createResolver(),
        isAllowedAddress: deps.isAllowedAddress ?? isPublicAddress,
      });
      gates.add(gate);
      const close = () => {
        gates.delete(gate);
        return gate.close();
      };
      return { socketPath, close };
    },
    async close() {
      await Promise.all([...gates].map((gate) => gate.close()));
      gates.clear();
    },
  };
}

function readDeclared(host: string): string {
  const read = readHostPort(host);
  if (read !== undefined) return spellHostPort(read);
  throw new Problem('invalid-arguments', {
    detail: `hosts: ${JSON.stringify(host.slice(0, 100))} is no host; name each exactly, as in "api.example.com" or "api.example.com:8443", and no address.`,
    members: { field: 'hosts' },
  });
}

async function prepareFolder({ workDir, log }: EgressDeps): Promise<void> {
  await mkdir(workDir, { recursive: true });
  const folder = await lstat(workDir);
  if (!folder.isDirectory() || folder.uid !== process.getuid?.()) {
    throw new Error(`The folder ${workDir} is not ours.`);
  }
  // Jails run as other users, who get through and may not list.
  await chmod(workDir, 0o711);
  const swept = await sweep(workDir);
  if (swept > 0) log.info({ swept }, 'removed the sockets of egress proxies that are gone');
}

/** Removes sockets that a gateway left when it died. */
async function sweep(workDir: string): Promise<number> {
  let count = 0;
  for (const name of await readdir(workDir)) {
    const path = join(workDir, name);
    if (!SOCKET.test(name) || !(await isStale(path))) continue;
    await rm(path, { force: true });
    count += 1;
  }
  return count;
}

async function isStale(path: string): Promise<boolean> {
  const there = await lstat(path).catch(() => undefined);
  if (there === undefined || Date.now() - there.mtimeMs < STALE_AFTER_MS) return false;
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
