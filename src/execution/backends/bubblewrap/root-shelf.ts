import type { Log } from '../../../core/log.ts';
import type { Capabilities, Root, Runtime } from '../../backend.ts';
import { planRoot, type RootKind, type RootPrograms, rootKindOf } from '../../policy/roots/build-root.ts';
import { keepRoots, type StoredRoot } from './root-store.ts';
import type { WorkDir } from './work-dir.ts';

/** The roots that jails can be started with. */
export type RootShelf = {
  /** This machine's own. */
  current(runtime: Runtime): StoredRoot | undefined;
  /** The one that a version was published on when it is still there, else the current one of its runtime. */
  choose(runtime: Runtime, sha256: string | undefined): StoredRoot | undefined;
  /** From now on that runtime is not offered. */
  withdraw(kind: RootKind): void;
  describe(): Capabilities['roots'];
};

export type ShelfInput = { workDir: WorkDir; programs: RootPrograms; log: Log };

/** Builds what is not there yet. Throws when there is no root for Python, on which the trial relies. */
export async function openRootShelf(input: ShelfInput): Promise<RootShelf> {
  const { log } = input;
  const stored = new Map<RootKind, readonly StoredRoot[]>();
  stored.set('python', await prepare('python', input));
  try {
    stored.set('node', await prepare('node', input));
  } catch (error) {
    log.warn({ err: error }, 'hosted tools in Node cannot be run: there is no root file system for it');
  }
  const missed = new Set<string>();
  // Static binaries are of one architecture (`backend.ts`).
  const rootsOf = (runtime: Runtime) =>
    runtime === 'elf' && process.arch !== 'x64' ? [] : (stored.get(rootKindOf(runtime)) ?? []);
  const current = (runtime: Runtime) => rootsOf(runtime)[0];
  const describe = (runtime: Runtime): Root | undefined => {
    const root = current(runtime);
    return root === undefined ? undefined : { version: root.version, sha256: root.sha256 };
  };
  return {
    current,
    choose(runtime, sha256) {
      const roots = rootsOf(runtime);
      const pinned = roots.find((root) => root.sha256 === sha256);
      if (pinned !== undefined || sha256 === undefined || roots.length === 0) return pinned ?? roots[0];
      if (!missed.has(sha256) && missed.size < MISSED_MAX) {
        missed.add(sha256);
        log.warn(
          { runtime, root: sha256, instead: roots[0]?.sha256 },
          'a version runs on another root than its own',
        );
      }
      return roots[0];
    },
    withdraw: (kind) => void stored.delete(kind),
    describe() {
      const runtimes: Runtime[] = ['python', 'node', 'elf'];
      return Object.fromEntries(
        runtimes.flatMap((runtime) => {
          const root = describe(runtime);
          return root === undefined ? [] : [[runtime, root]];
        }),
      );
    },
  };
}

/** How many missing roots are told of, each once. */
const MISSED_MAX = 1000;

async function prepare(
  kind: RootKind,
  { workDir, programs, log }: ShelfInput,
): Promise<readonly StoredRoot[]> {
  const plan = await planRoot(kind, programs);
  return keepRoots(workDir, plan, () =>
    log.info({ kind, version: plan.version, files: plan.files.length }, 'building a root file system, once'),
  );
}
