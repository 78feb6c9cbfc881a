import type { Log } from '../../../core/log.ts';
import { judgeNodeTrial, judgePythonTrial, type StartTrial } from '../../policy/trial.ts';
import { openCgroups } from './cgroups.ts';
import { createLauncher, type Launcher, type LauncherParts } from './launcher.ts';
import { createLayerStore } from './layer-store.ts';
import { ownOwnerId } from './owner.ts';
import { findPrograms, type Programs } from './programs.ts';
import type { Attempt } from './readiness.ts';
import { openRootShelf } from './root-shelf.ts';
import { sweepDeadOwners } from './sweep.ts';
import { enterFolder, prepareWorkDir } from './work-dir.ts';

export type Preparation = {
  /** Where the sandbox keeps its things; see `defaultWorkDir`. */
  workDir: string;
  /** Paths of programs that are not where Debian puts them. */
  programs: Partial<Programs>;
  /** `off` behaves as on a machine without control groups. */
  cgroups: 'auto' | 'off';
  /** Tells the backends of one process apart. */
  backendId: string;
  log: Log;
} & Pick<LauncherParts, 'slots' | 'jails' | 'closing'>;

/** Finds out, by starting a jail, how this machine can isolate; says in one sentence why it cannot. */
export async function prepareLauncher(preparation: Preparation): Promise<Attempt<Launcher>> {
  if (process.platform !== 'linux') {
    return { kind: 'unavailable', detail: 'The bubblewrap sandbox needs Linux.' };
  }
  const search = await findPrograms(preparation.programs);
  if (search.kind === 'missing') return { kind: 'unavailable', detail: search.detail };
  try {
    return await prepareWith(preparation, search.programs);
  } catch (error) {
    preparation.log.warn({ err: error }, 'the sandbox cannot be prepared');
    const why = error instanceof Error ? error.message : 'for an unknown reason';
    return { kind: 'unavailable', detail: `The sandbox cannot be prepared: ${why}` };
  }
}

async function prepareWith(preparation: Preparation, programs: Programs): Promise<Attempt<Launcher>> {
  const { log } = preparation;
  const workDir = await prepareWorkDir(preparation.workDir);
  await sweepDeadOwners(preparation);
  const folder = await enterFolder(workDir, preparation.backendId);
  const roots = await openRootShelf({ workDir, programs, log });
  const layers = createLayerStore(workDir.layers, log);
  const parts = { ...preparation, programs, roots, layers, ownerId: ownOwnerId(), folder };
  const cgroups = preparation.cgroups === 'off' ? undefined : await openCgroups();
  if (cgroups !== undefined) {
    const attempt = await tryOut({ ...parts, cgroups });
    if (attempt.kind === 'ready') return attempt;
    log.warn({ why: attempt.detail }, 'jails do not work with control groups: trying without');
  }
  const attempt = await tryOut({ ...parts, cgroups: undefined });
  if (attempt.kind === 'ready') log.warn({}, 'no control groups: jails get RLIMIT_AS and may not fork');
  return attempt;
}

async function tryOut(parts: LauncherParts): Promise<Attempt<Launcher>> {
  try {
    const launcher = await createLauncher(parts);
    const hasCgroups = parts.cgroups !== undefined;
    // RLIMIT_AS cannot hold V8, which reserves gigabytes of addresses.
    if (!hasCgroups) parts.roots.withdraw('node');
    const start: StartTrial = (spec) => launcher.start(spec, () => {});
    const [why] = await Promise.all([judgePythonTrial(start, hasCgroups), tryNode(start, parts)]);
    return why === undefined ? { kind: 'ready', value: launcher } : failed(why);
  } catch (error) {
    parts.log.warn({ err: error }, 'a trial jail could not be started');
    return failed(error instanceof Error ? error.message : 'for an unknown reason');
  }
}

/** Node is offered only when it works here; Python is what a sandbox cannot do without. */
async function tryNode(start: StartTrial, { roots, log }: LauncherParts): Promise<void> {
  if (roots.current('node') === undefined) return;
  const why = await judgeNodeTrial(start);
  if (why === undefined) return;
  roots.withdraw('node');
  log.warn({ why }, 'hosted tools in Node cannot be run: a trial jail did not do');
}

function failed(why: string): Attempt<never> {
  return { kind: 'unavailable', detail: `The sandbox does not work on this machine: ${why}` };
}
