import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import { InvariantError } from '../../../core/invariant.ts';
import { Problem } from '../../../core/problem.ts';
import type { Backend, Jail, JailSpec } from '../../backend.ts';
import type { Launcher } from './launcher.ts';
import { type Preparation, prepareLauncher } from './prepare.ts';
import { createReadiness } from './readiness.ts';
import { createSlots } from './slots.ts';
import { sweepDeadOwners } from './sweep.ts';
import { leaveFolder } from './work-dir.ts';

export type BubblewrapDeps = Pick<Preparation, 'workDir' | 'log'> &
  Partial<Pick<Preparation, 'programs' | 'cgroups'>> & { clock: Clock };

const RETRY_AFTER_SECONDS = 5;

/**
 * Jails made of user namespaces, control groups and a seccomp filter by Debian's bubblewrap. Whatever is
 * missing for a jail to be one, nothing starts.
 */
export function createBubblewrapBackend(deps: BubblewrapDeps): Backend {
  const { workDir, clock, log, programs = {}, cgroups = 'auto' } = deps;
  const jails = new Map<string, Jail>();
  const closing = new AbortController();
  const preparation = {
    ...{ workDir, programs, cgroups, log, jails },
    backendId: randomBytes(8).toString('hex'),
    slots: createSlots(),
    closing: closing.signal,
  };
  const readiness = createReadiness(() => prepareLauncher(preparation), clock);

  const start = async (launcher: Launcher, spec: JailSpec): Promise<Jail> => {
    try {
      return await launcher.start(spec, (exit) => {
        if (exit.isBackendFailure) readiness.doubt();
      });
    } catch (error) {
      if (error instanceof Problem || error instanceof InvariantError) throw error;
      readiness.doubt();
      throw unavailable('The sandbox could not be prepared.', error);
    }
  };
  return {
    name: 'bubblewrap',
    async status() {
      const attempt = await readiness.get();
      if (attempt.kind === 'unavailable') return attempt;
      const { cgroups, roots } = attempt.value;
      return {
        kind: 'ready',
        capabilities: {
          isolation: 'namespaces',
          memory: cgroups === undefined ? 'rlimit' : 'cgroup',
          pids: true,
          // What programs are pointed to is a port of the jail's own, and without control groups they get none.
          egress: cgroups === undefined ? 'none' : 'proxy',
          roots: roots.describe(),
        },
      };
    },
    async acquire(spec, signal) {
      closing.signal.throwIfAborted();
      const attempt = await orAbort(readiness.get(), signal);
      if (attempt.kind === 'unavailable') throw unavailable(attempt.detail);
      if (spec.egressSocket !== undefined && attempt.value.cgroups === undefined) {
        throw unavailable('Without control groups this sandbox gives no tool a way to the network.');
      }
      const jail = await start(attempt.value, spec);
      if (!signal.aborted && !closing.signal.aborted) return jail;
      await jail.kill('cancelled');
      closing.signal.throwIfAborted();
      throw signal.reason;
    },
    sweep: () => sweepDeadOwners({ workDir, cgroups, log }),
    async close() {
      closing.abort(unavailable('The gateway is shutting down.'));
      const killAll = () => Promise.allSettled([...jails.values()].map((jail) => jail.kill('shutdown')));
      await killAll();
      await readiness.settle();
      await killAll();
      if (process.platform === 'linux') await leaveFolder(workDir, preparation.backendId);
    },
  };
}

/** The value, or the signal's reason, whichever is first. */
async function orAbort<T>(value: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    void value.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function unavailable(detail: string, cause?: unknown): Problem {
  return new Problem('unavailable', {
    detail,
    cause,
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    isUncharged: true,
  });
}
