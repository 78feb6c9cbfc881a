import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import { Problem } from '../../../core/problem.ts';
import type { Backend, Capabilities, Exit, Jail, JailSpec, Runtime } from '../../backend.ts';
import { rootKindOf } from '../../policy/roots/build-root.ts';
import { ApiFault } from './api-fault.ts';
import { createHealth } from './health.ts';
import { startJail } from './jail.ts';
import { isGvisor, podOf } from './pod-spec.ts';
import { type Prepared, prepareCluster } from './prepare.ts';
import { sweepNamespace } from './sweep.ts';

export type KubernetesBackendDeps = {
  /** Undefined inside a pod, whose service account is then used. */
  kubeconfigPath: string | undefined;
  namespace: string;
  /** Repository of the root images, without a tag. */
  image: string;
  /** Path of the list of roots that were pushed there. */
  rootsPath: string;
  runtimeClass: string;
  /** Name of the seccomp profile on the nodes; undefined for the runtime's own. */
  seccompProfile: string | undefined;
  clock: Clock;
  log: Log;
  /** How long a pod may take to run. */
  startTimeoutMs?: number;
};

const START_TIMEOUT_MS = 30_000;
/** The first pods of a cluster may have to wait for their image. */
const FIRST_START_TIMEOUT_MS = 120_000;
/** Between sweeps, and looks at a cluster that failed. */
const ROUND_MS = 30_000;

/** Jails that are pods of one namespace of a Kubernetes cluster. Without proof that they are jails nothing starts. */
export function createKubernetesBackend(deps: KubernetesBackendDeps): Backend {
  const { clock, log } = deps;
  const closing = new AbortController();
  const health = createHealth<Prepared>({ clock, log });
  const jails = new Map<string, Jail>();
  const inUse = new Set<string>();
  const openings = new Set<Promise<Jail>>();
  const prepared = new Set<Prepared>();
  const ownerId = randomBytes(8).toString('hex');
  let looking: Promise<void> | undefined;
  let round: NodeJS.Timeout | undefined;

  const open = (
    parts: Omit<Prepared, 'lease'>,
    spec: JailSpec,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Jail> => {
    const root = parts.roots.choose(rootKindOf(spec.runtime), spec.rootSha256);
    if (root === undefined) throw unavailable(`The sandbox runs no ${NAMES[spec.runtime]}.`, undefined, 60);
    const name = `millicent-${ownerId}-${randomBytes(8).toString('hex')}`;
    inUse.add(name);
    const onGone = (exit: Exit) => {
      jails.delete(name);
      inUse.delete(name);
      if (exit.isBackendFailure && !closing.signal.aborted) log.warn({ jail: name }, 'a jail was lost');
    };
    const pod = podOf({ ...deps, name, ownerId, repository: deps.image, root, spec });
    const opening = startJail(
      { ...parts, namespace: deps.namespace, name, pod, startTimeoutMs: timeoutMs, log, onGone },
      signal,
    ).then((jail) => {
      jails.set(name, jail);
      return jail;
    });
    openings.add(opening);
    opening.catch(() => inUse.delete(name)).finally(() => openings.delete(opening));
    return opening;
  };
  const look = async (): Promise<void> => {
    closing.signal.throwIfAborted();
    const state = health.state();
    if (state.kind === 'ready' || clock.now().getTime() < state.until) return;
    looking ??= prepareCluster({
      ...deps,
      ownerId,
      isAgain: prepared.size > 0,
      open: (parts, spec) => open(parts, spec, FIRST_START_TIMEOUT_MS, closing.signal),
      signal: closing.signal,
    })
      .then((next) => {
        for (const earlier of prepared) {
          earlier.lease.stop();
          earlier.feed.retire();
        }
        prepared.add(next);
        health.recover(next);
      }, health.rest)
      .finally(() => {
        looking = undefined;
      });
    await looking;
  };
  const sweep = async (): Promise<number> => {
    const state = health.state();
    if (state.kind !== 'ready') return 0;
    return sweepNamespace({ ...state.value, namespace: deps.namespace, ownerId, inUse });
  };
  const startRounds = () => {
    if (round !== undefined || closing.signal.aborted) return;
    round = setInterval(() => {
      const task = async () => {
        await look();
        const count = await sweep();
        if (count > 0) log.info({ count }, 'pods of gateways that are gone were removed');
      };
      task().catch((error: unknown) =>
        log.warn({ err: error }, 'the Kubernetes namespace could not be swept'),
      );
    }, ROUND_MS);
    round.unref();
  };

  return {
    name: 'kubernetes',
    async status() {
      startRounds();
      await look();
      const state = health.state();
      if (state.kind === 'resting') return { kind: 'unavailable', detail: state.detail };
      return { kind: 'ready', capabilities: describe(state.value, deps.runtimeClass) };
    },
    async acquire(spec, signal) {
      startRounds();
      refuseUnfit(spec);
      await look();
      signal.throwIfAborted();
      const state = health.state();
      if (state.kind === 'resting') throw unavailable(state.detail);
      try {
        return await open(state.value, spec, deps.startTimeoutMs ?? START_TIMEOUT_MS, signal);
      } catch (error) {
        closing.signal.throwIfAborted();
        signal.throwIfAborted();
        if (error instanceof Problem) throw error;
        if (!isPassing(error)) health.fail(error);
        log.warn({ err: error }, 'a pod could not be started');
        throw unavailable('The sandbox could not be prepared.', error);
      }
    },
    async sweep() {
      await look();
      return sweep();
    },
    async close() {
      closing.abort(unavailable('The gateway is shutting down.'));
      clearInterval(round);
      await looking?.catch(() => undefined);
      await Promise.allSettled(openings);
      await Promise.allSettled([...jails.values()].map((jail) => jail.kill('shutdown')));
      for (const parts of prepared) {
        await parts.lease.end();
        parts.close();
      }
    },
  };
}

const NAMES: Record<Runtime, string> = { python: 'Python', node: 'Node', elf: 'static binaries' };

/** What pods cannot be given here is refused in words, and nothing is run without it. */
function refuseUnfit({ layer, egressSocket }: JailSpec): void {
  if (layer !== undefined)
    throw unavailable(
      'This sandbox (Kubernetes) runs no tools with dependencies of their own.',
      undefined,
      60,
    );
  if (egressSocket !== undefined)
    throw unavailable('This sandbox (Kubernetes) gives no way out.', undefined, 60);
}

/** Too much to do, or no room: the next call may fit, and nothing has to be looked at anew. */
function isPassing(error: unknown): boolean {
  if (error instanceof ApiFault) return error.status === 429 || /exceeded quota/.test(error.message);
  return error instanceof Error && /^no node has room/.test(error.message);
}

function describe({ roots }: Prepared, runtimeClass: string): Capabilities {
  const runtimes: Runtime[] = ['python', 'node', 'elf'];
  return {
    isolation: isGvisor(runtimeClass) ? 'gvisor' : 'namespaces',
    ...{ memory: 'cgroup', pids: !isGvisor(runtimeClass), egress: 'none' },
    roots: Object.fromEntries(
      runtimes.flatMap((runtime) => {
        const root = roots.current.get(rootKindOf(runtime));
        return root === undefined ? [] : [[runtime, { version: root.version, sha256: root.sha256 }]];
      }),
    ),
  };
}

const RETRY_AFTER_SECONDS = 5;

function unavailable(detail: string, cause?: unknown, retryAfterSeconds = RETRY_AFTER_SECONDS): Problem {
  return new Problem('unavailable', { detail, cause, retryAfterSeconds, isUncharged: true });
}
