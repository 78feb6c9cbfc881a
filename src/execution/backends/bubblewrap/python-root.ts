import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { Log } from '../../../core/log.ts';
import type { Programs } from './programs.ts';
import {
  copyRoot,
  findLibraries,
  type PlannedFile,
  planFolder,
  planOwnFile,
  toRootPath,
} from './root-files.ts';
import { keepRoot } from './root-store.ts';
import type { WorkDir } from './work-dir.ts';

/** A read-only root file system with a Python in it, and how to start that. */
export type PythonRoot = {
  folder: string;
  command: readonly string[];
  environment: Readonly<Record<string, string>>;
  /** `prlimit` inside the root. */
  prlimit: string;
};

export type PythonRootInput = { workDir: WorkDir; programs: Programs; log: Log };

/**
 * The root file system made of the machine's own interpreter: the binary, its standard library and the shared
 * libraries they need, and nothing else of the machine. Built once and then found by what it is made of.
 */
export async function preparePythonRoot({ workDir, programs, log }: PythonRootInput): Promise<PythonRoot> {
  const python = await describePython(programs.python);
  const plan = await planRoot(python, programs);
  const folder = await keepRoot({
    workDir,
    kind: 'python',
    recipe: [RECIPE_VERSION, python, plan],
    async build(target) {
      log.info(
        { python: python.executable, files: plan.length },
        'building the Python root file system, once',
      );
      await copyRoot(target, plan);
      await compileLibrary(python, target);
    },
  });
  const libraryPath = findUnusualFolders(plan);
  return {
    folder,
    command: [python.executable, '-B', BOOTSTRAP],
    environment: {
      PYTHONUNBUFFERED: '1',
      PYTHONDONTWRITEBYTECODE: '1',
      PYTHONNOUSERSITE: '1',
      ...(libraryPath === '' ? {} : { LD_LIBRARY_PATH: libraryPath }),
    },
    prlimit: toRootPath(programs.prlimit),
  };
}

/** Raise it when the same ingredients shall make another root. */
const RECIPE_VERSION = 1;
const RUN_TIMEOUT_MS = 120_000;
const VERSION_MINIMUM = [3, 11] as const;
const BOOTSTRAP = '/usr/lib/millicent/bootstrap.py';
const BOOTSTRAP_SOURCE = join(import.meta.dirname, '../../policy/bootstraps/python.py');
const TIME_ZONES = '/usr/share/zoneinfo';

/** Tests, tools for developers, and what only the machine's packages need. */
const LEFT_OUT =
  /^(__pycache__|test|tests|idlelib|turtledemo|tkinter|ensurepip|lib2to3|pydoc_data|config-.*|.*-packages|_test.*\.so|_ctypes_test.*|_xx.*)$/;
const TIME_ZONES_LEFT_OUT = /^(posix|right|.*\.(tab|list|zi))$/;

const pythonSchema = z.object({
  executable: z.string().startsWith('/'),
  version: z.tuple([z.int(), z.int(), z.int()]),
  libraries: z.array(z.string().startsWith('/')).min(1),
});
type Python = z.infer<typeof pythonSchema>;

const DESCRIBE = `
import json, os, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps({
  'executable': os.path.realpath(sys.executable),
  'version': sys.version_info[:3],
  'libraries': sorted({paths['stdlib'], paths['platstdlib']}),
}))`;

const run = promisify(execFile);

/** Without our environment: PYTHONPATH and the like are the operator's, not the jail's. */
async function describePython(path: string): Promise<Python> {
  const { stdout } = await run(path, ['-I', '-c', DESCRIBE], { env: {}, timeout: RUN_TIMEOUT_MS });
  const python = pythonSchema.parse(JSON.parse(stdout));
  const [major, minor] = python.version;
  if (major < VERSION_MINIMUM[0] || (major === VERSION_MINIMUM[0] && minor < VERSION_MINIMUM[1])) {
    throw new Error(`${path} is Python ${python.version.join('.')}; hosted tools need 3.11 or newer.`);
  }
  return python;
}

async function planRoot(python: Python, programs: Programs): Promise<PlannedFile[]> {
  const library = (await Promise.all(python.libraries.map((folder) => planFolder(folder, LEFT_OUT)))).flat();
  const binaries = [python.executable, programs.prlimit];
  const extensions = library.map(({ source }) => source).filter((path) => path.endsWith('.so'));
  return [
    ...binaries.map((source) => ({ source, target: toRootPath(source) })),
    ...(await planOwnFile(BOOTSTRAP_SOURCE, BOOTSTRAP)),
    ...library,
    ...(await findLibraries(programs.ldd, [...binaries, ...extensions])),
    ...(await planFolder(TIME_ZONES, TIME_ZONES_LEFT_OUT)),
  ];
}

/** Byte code that is never checked against its source: the root does not change. */
async function compileLibrary(python: Python, root: string): Promise<void> {
  const folders = python.libraries.map((folder) => join(root, toRootPath(folder)));
  const options = ['-q', '-j', '2', '--invalidation-mode', 'unchecked-hash', '-s', root];
  // A file that does not compile makes it exit 1; that file then only starts more slowly, or not, as before.
  await run(python.executable, ['-I', '-m', 'compileall', ...options, ...folders], {
    env: {},
    timeout: RUN_TIMEOUT_MS,
  }).catch(() => undefined);
}

/** Folders that the dynamic linker does not search by itself; a root has no `ld.so.cache`. */
function findUnusualFolders(plan: readonly PlannedFile[]): string {
  const folders = plan
    .filter(({ isLibrary }) => isLibrary)
    .map(({ target }) => target.slice(0, target.lastIndexOf('/')));
  const usual = /^\/usr\/lib(64|\/[a-z0-9_]+-linux-gnu)?$/;
  return [...new Set(folders)].filter((folder) => !usual.test(folder)).join(':');
}
