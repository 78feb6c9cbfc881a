import type { Log } from '../core/log.ts';
import { Problem } from '../core/problem.ts';
import type { Backend, Capabilities, Jail, JailSpec, KillReason, Runtime } from './backend.ts';
import type { Egress, EgressGate } from './egress-port.ts';
import type { ServerRef } from './exchange.ts';
import type { Pool } from './pool/pool.ts';

export type HostedServer = Extract<ServerRef, { kind: 'hosted' }>;

export type PlaceDeps = {
  backend: Pick<Backend, 'status'>;
  pool: Pool;
  /** Undefined where no jail ever reaches the network. */
  egress: Egress | undefined;
  log: Log;
};

/** Where a server runs: a jail, and a gate to the network where it has one. */
export type Place = {
  jail: Jail;
  isWarm: boolean;
  /** Resolves once nothing of it is left; never rejects. */
  leave(reason: KillReason): Promise<void>;
};

/** Finds a server its place; `isFresh` takes no jail that waited. Throws `Problem('unavailable')` where there is none. */
export async function openPlace(
  deps: PlaceDeps,
  { server, isFresh }: { server: HostedServer; isFresh: boolean },
  signal: AbortSignal,
): Promise<Place> {
  const status = await deps.backend.status();
  if (status.kind === 'unavailable') throw unavailable(status.detail);
  deps.pool.stand(status.capabilities.roots);
  const spec = toJailSpec(server, status.capabilities.roots);
  const gate = await openGate(deps, server, status.capabilities);
  const take = isFresh ? deps.pool.start : deps.pool.take;
  try {
    const taken = await take({ ...spec, egressSocket: gate?.socketPath }, signal);
    return { ...taken, leave: (reason) => leave(deps, taken.jail, gate, reason) };
  } catch (error) {
    await gate?.close();
    throw error;
  }
}

/** A static binary runs in Python's root. */
export function findRoot(roots: Capabilities['roots'], runtime: Runtime) {
  return roots[runtime] ?? (runtime === 'elf' ? roots.python : undefined);
}

const NAMES: Record<Runtime, string> = { python: 'Python', node: 'Node', elf: 'static binaries' };

function toJailSpec({ code, limits }: HostedServer, roots: Capabilities['roots']): JailSpec {
  const { runtime, layer, rootSha256 } = code;
  const root = findRoot(roots, runtime);
  if (root === undefined) throw unavailable(`This sandbox does not run ${NAMES[runtime]}.`);
  // The newest root is the one that jails wait with: it need not be asked for.
  return { runtime, limits, layer, rootSha256: rootSha256 === root.sha256 ? undefined : rootSha256 };
}

async function openGate(
  { egress }: PlaceDeps,
  { hosts }: HostedServer,
  capabilities: Capabilities,
): Promise<EgressGate | undefined> {
  if (hosts.length === 0) return undefined;
  if (egress === undefined || capabilities.egress === 'none') {
    throw unavailable('This sandbox reaches no network: the tool can be called only without it.');
  }
  return egress.openEgress({ hosts });
}

async function leave(
  { log }: PlaceDeps,
  jail: Jail,
  gate: EgressGate | undefined,
  reason: KillReason,
): Promise<void> {
  await jail
    .kill(reason)
    .catch((error: unknown) => log.error({ err: error, jail: jail.id }, 'a jail could not be removed'));
  await gate
    ?.close()
    .then((use) => log.info({ jail: jail.id, ...use }, 'a jail used the network'))
    .catch((error: unknown) => log.error({ err: error, jail: jail.id }, 'a gate could not be closed'));
}

function unavailable(detail: string): Problem {
  return new Problem('unavailable', { detail, retryAfterSeconds: 60, isUncharged: true });
}
