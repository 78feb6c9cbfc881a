import { chmod, mkdir } from 'node:fs/promises';
import { sha256Hex } from '../../../core/bytes.ts';
import type { Runtime } from '../../backend.ts';
import type { Limits } from '../../limits.ts';
import { planNodeRoot } from './node-root.ts';
import { planPythonRoot } from './python-root.ts';
import { BESIDES_SHA256, copyRoot, type PlannedFile } from './root-files.ts';
import { hashRoot, openToReaders } from './root-hash.ts';

/** `elf` runs in the Python root, whose bootstrap executes it. */
export type RootKind = 'python' | 'node';

/** Absolute paths of the machine's programs that roots are made of or made with. */
export type RootPrograms = { ldd: string; prlimit: string; python: string; node: string };

/** How a root's runtime is started, with absolute paths inside the root. */
export type RootStart = {
  kind: RootKind;
  /** Of the runtime, such as `3.11.2`. */
  version: string;
  /** The interpreter, its options, the bootstrap; see `startCommand`. */
  command: readonly string[];
  environment: Readonly<Record<string, string>>;
  /** `prlimit` inside the root. */
  prlimit: string;
};

/** What a root will be, before it is built. */
export type RootPlan = RootStart & {
  files: readonly PlannedFile[];
  /** What is to be done once the files are there. */
  finish(target: string): Promise<void>;
  /** Over what the root will be made of, hex: the same recipe, the same root. Cheaper than building it. */
  recipe: string;
};

/** A root that was built; `sha256` is over every path, mode and content, hex. */
export type BuiltRoot = RootStart & { sha256: string };

/** Looks at the machine's interpreter. Throws an Error, in words for the operator, when it cannot serve. */
export async function planRoot(kind: RootKind, programs: RootPrograms): Promise<RootPlan> {
  const plan = await (kind === 'python' ? planPythonRoot(programs) : planNodeRoot(programs));
  const byTarget = new Map(plan.files.map((file) => [file.target, file]));
  const files = [...byTarget.values()].sort((a, b) => (a.target < b.target ? -1 : 1));
  const ingredients = files.map((file) => [
    file.target,
    // A file of ours is known by its content: another clone has it elsewhere, with another time.
    file.sha256 ?? [file.source, file.sizeBytes, file.modifiedAtMs],
  ]);
  const { version, command, environment } = plan;
  const start = [kind, version, command, environment];
  return {
    ...{ kind, ...plan, files },
    recipe: sha256Hex(JSON.stringify([RECIPE_VERSION, ...start, BESIDES_SHA256, ingredients])),
  };
}

/** Raise it when the same ingredients shall make another root. */
const RECIPE_VERSION = 2;

/** Makes the root in `target`, which is made when it is not there. The same machine makes the same hash. */
export async function buildRoot(plan: RootPlan, target: string): Promise<BuiltRoot> {
  await mkdir(target, { recursive: true });
  await copyRoot(target, plan.files);
  await plan.finish(target);
  await openToReaders(target);
  await chmod(target, 0o755);
  const { kind, version, command, environment, prlimit } = plan;
  return { kind, version, command, environment, prlimit, sha256: await hashRoot(target) };
}

export function rootKindOf(runtime: Runtime): RootKind {
  return runtime === 'node' ? 'node' : 'python';
}

const MIB = 1024 * 1024;
/** What V8 may hold besides its old generation, with the program itself. */
const NODE_BESIDES_HEAP = 0.25;

/** The command that a jail of these limits starts as its only program. */
export function startCommand(root: RootStart, limits: Pick<Limits, 'memoryBytesMax'>): string[] {
  const [program = '', ...rest] = root.command;
  if (root.kind === 'python') return [program, ...rest];
  // V8 would size its heap by the whole machine, and collect nothing before the kernel ends the jail.
  const heapMib = Math.floor((limits.memoryBytesMax * (1 - NODE_BESIDES_HEAP)) / MIB);
  return [program, `--max-old-space-size=${heapMib}`, ...rest];
}
