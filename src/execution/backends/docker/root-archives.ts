import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, type FileHandle, mkdir, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import {
  type BuiltRoot,
  buildRoot,
  planRoot,
  type RootPlan,
  type RootPrograms,
} from '../../policy/roots/build-root.ts';

/** Root file systems on their way to engines, as tar archives. */
export type RootArchives = {
  /** What this machine's interpreters make. Throws, in words for the operator, when there is no Python. */
  plan(): Promise<RootPlan[]>;
  /** Builds the root unless somebody just does, and gives its archive. */
  use<T>(plan: RootPlan, send: (root: BuiltRoot, archive: Readable) => Promise<T>): Promise<T>;
};

export type RootArchivesDeps = {
  workDir: string;
  programs?: Partial<RootPrograms> | undefined;
  clock: Clock;
  log: Log;
};

/** Roots are built in `workDir`, which keeps nothing of them: an engine has them as images. */
export function createRootArchives(deps: RootArchivesDeps): RootArchives {
  const building = new Map<string, Shared>();
  return {
    async plan() {
      const programs = await findPrograms(deps.programs ?? {});
      const node = planRoot('node', programs).catch((error: unknown) => {
        deps.log.warn(
          { err: error },
          'hosted tools in Node cannot be run: there is no root file system for it',
        );
        return undefined;
      });
      const plans = [await planRoot('python', programs), await node];
      return plans.filter((plan) => plan !== undefined);
    },
    async use(plan, send) {
      const shared = building.get(plan.recipe) ?? { users: 0, archive: build(deps, plan) };
      building.set(plan.recipe, shared);
      shared.users += 1;
      try {
        const { root, file } = await shared.archive;
        return await send(root, file.createReadStream({ start: 0, autoClose: false }));
      } finally {
        shared.users -= 1;
        if (shared.users === 0) {
          building.delete(plan.recipe);
          await shared.archive.then(
            ({ file }) => file.close(),
            () => undefined,
          );
        }
      }
    },
  };
}

type Archive = { root: BuiltRoot; file: FileHandle };
type Shared = { users: number; archive: Promise<Archive> };

const FOLDERS = ['/usr/bin', '/bin', '/usr/local/bin'];
const NEEDED: Record<keyof Omit<RootPrograms, 'node'>, string> = {
  ldd: 'ldd',
  prlimit: 'prlimit',
  python: 'python3',
};
const PREFIX = 'docker-root-';
const ABANDONED_MS = 3_600_000;
const TAR_TIMEOUT_MS = 120_000;
const TAR_OPTIONS = [
  '--sort=name',
  '--mtime=@0',
  '--owner=0',
  '--group=0',
  '--numeric-owner',
  '--format=gnu',
];

const run = promisify(execFile);

async function build({ workDir, clock }: RootArchivesDeps, plan: RootPlan): Promise<Archive> {
  await mkdir(workDir, { recursive: true, mode: 0o711 });
  await removeAbandoned(workDir, clock);
  const folder = await mkdtemp(join(workDir, PREFIX));
  try {
    const root = await buildRoot(plan, join(folder, 'root'));
    const path = join(folder, 'root.tar');
    // To a file first: a stream that breaks off would be imported as a root with files missing.
    await run('tar', [...TAR_OPTIONS, '-C', join(folder, 'root'), '-cf', path, '.'], {
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
      timeout: TAR_TIMEOUT_MS,
    });
    return { root, file: await open(path, 'r') };
  } finally {
    // The open archive lives on, and is gone with the process whatever becomes of it.
    await rm(folder, { recursive: true, force: true });
  }
}

/** Removes what a gateway left that was killed while it built. */
async function removeAbandoned(workDir: string, clock: Clock): Promise<void> {
  for (const name of (await readdir(workDir)).filter((each) => each.startsWith(PREFIX))) {
    const there = await stat(join(workDir, name)).catch(() => undefined);
    if (there === undefined || clock.now().getTime() - there.mtimeMs < ABANDONED_MS) continue;
    await rm(join(workDir, name), { recursive: true, force: true });
  }
}

/** Absolute paths, never searched in PATH: a shim there would be copied into jails. */
async function findPrograms(given: Partial<RootPrograms>): Promise<RootPrograms> {
  const find = async (name: keyof typeof NEEDED): Promise<string> => {
    const path = given[name];
    const candidates = path === undefined ? FOLDERS.map((folder) => `${folder}/${NEEDED[name]}`) : [path];
    for (const candidate of candidates) if (await isExecutable(candidate)) return candidate;
    throw new Error(`the roots of jails are made with ${NEEDED[name]}, which is not on this machine.`);
  };
  const [ldd, prlimit, python] = await Promise.all([find('ldd'), find('prlimit'), find('python')]);
  return { ldd, prlimit, python, node: given.node ?? process.execPath };
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
