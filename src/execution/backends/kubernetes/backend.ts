import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import { Problem } from '../../../core/problem.ts';
import type { Backend, Capabilities, JailSpec, Runtime } from '../../backend.ts';
import { rootKindOf } from '../../policy/roots/build-root.ts';
import { ApiFault } from './api-fault.ts';
import { createHealth, type State } from './health.ts';
import { createOpener, type Opener } from './opener.ts';
import { isGvisor } from './pod-spec.ts';
import { type Prepared, prepareCluster } from './prepare.ts';
import { sweepNamespace } from './sweep.ts';
import { unavailable } from './unavailable.ts';

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
  const { namespace, log, startTimeoutMs = START_TIMEOUT_MS } = deps;
  const closing = new AbortController();
  const opener = createOpener(deps);
  const readiness = createReadiness(deps, opener, closing.signal);
  const sweep = async (): Promise<number> => {
    const state = await readiness.look();
    if (state.kind === 'resting') return 0;
    return sweepNamespace({ ...state.value, ...{ namespace, ownerId: opener.ownerId, inUse: opener.inUse } });
  };
  const rounds = startRounds(sweep, log);
  return {
    name: 'kubernetes',
    async status() {
      rounds.begin();
      const state = await readiness.look();
      if (state.kind === 'resting') return { kind: 'unavailable', detail: state.detail };
      return { kind: 'ready', capabilities: describe(state.value, deps.runtimeClass) };
    },
    async acquire(spec, signal) {
      rounds.begin();
      refuseUnfit(spec);
      const state = await readiness.look();
      signal.throwIfAborted();
      if (state.kind === 'resting') throw unavailable(state.detail);
      try {
        return await opener.open(state.value, { spec, startTimeoutMs }, signal);
      } catch (error) {
        closing.signal.throwIfAborted();
        signal.throwIfAborted();
        if (error instanceof Problem) throw error;
        if (!isPassing(error)) readiness.fail(error);
        log.warn({ err: error }, 'a pod could not be started');
        throw unavailable('The sandbox could not be prepared.', error);
      }
    },
    sweep,
    async close() {
      closing.abort(unavailable('The gateway is shutting down.'));
      rounds.end();
      await opener.close();
      await readiness.close();
    },
  };
}

type Readiness = {
  /** What was found out last; looks anew when that was a failure some time ago. */
  look(): Promise<State<Prepared>>;
  fail(error: unknown): void;
  close(): Promise<void>;
};

function createReadiness(deps: KubernetesBackendDeps, opener: Opener, closing: AbortSignal): Readiness {
  const { clock } = deps;
  const health = createHealth<Prepared>(deps);
  const prepared: Prepared[] = [];
  let looking: Promise<void> | undefined;
  const prepare = async (): Promise<void> => {
    try {
      const next = await prepareCluster({
        ...deps,
        ownerId: opener.ownerId,
        isAgain: prepared.length > 0,
        open: (parts, spec) => opener.open(parts, { spec, startTimeoutMs: FIRST_START_TIMEOUT_MS }, closing),
        signal: closing,
      });
      for (const earlier of prepared) {
        earlier.lease.stop();
        earlier.feed.retire();
      }
      prepared.push(next);
      health.recover(next);
    } catch (error) {
      health.rest(error);
    }
  };
  return {
    async look() {
      closing.throwIfAborted();
      const state = health.state();
      if (state.kind === 'ready' || clock.now().getTime() < state.until) return state;
      looking ??= prepare().finally(() => {
        looking = undefined;
      });
      await looking;
      return health.state();
    },
    fail: health.fail,
    async close() {
      await looking;
      for (const { lease } of prepared) await lease.end();
      for (const parts of prepared) parts.close();
    },
  };
}

/** Every so often, as long as the backend is used. */
function startRounds(sweep: () => Promise<number>, log: Log): { begin(): void; end(): void } {
  let timer: NodeJS.Timeout | undefined;
  let isEnded = false;
  const round = async () => {
    const count = await sweep();
    if (count > 0) log.info({ count }, 'pods of gateways that are gone were removed');
  };
  return {
    begin() {
      if (timer !== undefined || isEnded) return;
      timer = setInterval(() => {
        round().catch((error: unknown) => {
          if (!isEnded) log.warn({ err: error }, 'the Kubernetes namespace could not be swept');
        });
      }, ROUND_MS);
      timer.unref();
    },
    end() {
      isEnded = true;
      clearInterval(timer);
    },
  };
}

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
