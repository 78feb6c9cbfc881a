import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { RootPlan, RootPrograms } from './build-root.ts';
import {
  findLibraries,
  libraryPathOf,
  type PlannedFile,
  planFile,
  planFolder,
  planOwnFile,
  toRootPath,
} from './root-files.ts';

/**
 * The root with the machine's own Python: the binary, its standard library and the shared libraries they need,
 * and nothing else of the machine.
 */
export async function planPythonRoot(programs: RootPrograms): Promise<Omit<RootPlan, 'kind' | 'recipe'>> {
  const python = await describePython(programs.python);
  const files = await planFiles(python, programs);
  return {
    version: python.version.join('.'),
    files,
    finish: (target) => compileLibrary(python, target, files),
    command: [python.executable, '-B', BOOTSTRAP],
    environment: {
      PYTHONUNBUFFERED: '1',
      PYTHONDONTWRITEBYTECODE: '1',
      PYTHONNOUSERSITE: '1',
      ...libraryPathOf(files),
    },
    prlimit: toRootPath(programs.prlimit),
  };
}

const RUN_TIMEOUT_MS = 120_000;
const VERSION_MINIMUM = [3, 11] as const;
const BOOTSTRAP = '/usr/lib/millicent/bootstrap.py';
const BOOTSTRAP_SOURCE = join(import.meta.dirname, '../bootstraps/python.py');
const EGRESS = '/usr/lib/millicent/egress.py';
const EGRESS_SOURCE = join(import.meta.dirname, '../bootstraps/egress.py');
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

async function planFiles(python: Python, programs: RootPrograms): Promise<PlannedFile[]> {
  const library = (await Promise.all(python.libraries.map((folder) => planFolder(folder, LEFT_OUT)))).flat();
  const binaries = [python.executable, programs.prlimit];
  const extensions = library.map(({ source }) => source).filter((path) => path.endsWith('.so'));
  return [
    ...(await Promise.all(binaries.map((source) => planFile(source)))),
    await planOwnFile(BOOTSTRAP_SOURCE, BOOTSTRAP),
    await planOwnFile(EGRESS_SOURCE, EGRESS),
    ...library,
    ...(await findLibraries(programs.ldd, [...binaries, ...extensions])),
    ...(await planFolder(TIME_ZONES, TIME_ZONES_LEFT_OUT)),
  ];
}

const COMPILE = `
import os, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for path in sys.stdin.read().split("\\0"):
    # One that does not compile is only started more slowly, or not, as before.
    py_compile.compile(sys.argv[1] + path, dfile=path, quiet=2, invalidation_mode=mode)`;
const COMPILERS = 2;

/**
 * Byte code that is never checked against its source: the root does not change. What Python writes depends on
 * what the process compiled before and on its hash seed, so both are always the same.
 */
async function compileLibrary(python: Python, root: string, files: readonly PlannedFile[]): Promise<void> {
  const paths = files.map(({ target }) => target).filter((path) => path.endsWith('.py'));
  const sorted = [...new Set(paths)].sort();
  const shares = Array.from({ length: COMPILERS }, (_, share) =>
    sorted.filter((_path, index) => index % COMPILERS === share),
  );
  await Promise.all(shares.map((share) => compile(python, root, share)));
}

async function compile(python: Python, root: string, paths: readonly string[]): Promise<void> {
  const child = spawn(python.executable, ['-s', '-P', '-c', COMPILE, root], {
    env: { PYTHONHASHSEED: '0' },
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    timeout: RUN_TIMEOUT_MS,
  });
  child.stdin.on('error', () => {});
  child.stdin.end(paths.join('\0'));
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`the library of ${python.executable} could not be compiled`);
}
