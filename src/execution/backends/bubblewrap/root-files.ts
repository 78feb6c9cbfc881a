import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** A file of the machine and where it goes. Size and time tell when the machine got another one. */
export type PlannedFile = {
  source: string;
  /** Absolute, inside the root. */
  target: string;
  isLibrary?: boolean;
  sizeBytes?: number;
  modifiedAtMs?: number;
};

const LDD_TIMEOUT_MS = 60_000;
const COPIES_AT_ONCE = 16;

/** `/lib/x` is `/usr/lib/x` in every root, whether or not the machine has merged the two. */
export function toRootPath(path: string): string {
  return path.replace(/^\/(bin|sbin|lib|lib64)\//, '/usr/$1/').replace(/^\/usr\/sbin\//, '/usr/bin/');
}

/** Every file below a folder, symbolic links to files followed; `leftOut` is matched against each name. */
export async function planFolder(folder: string, leftOut: RegExp): Promise<PlannedFile[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const plans = entries
    .filter(({ name }) => !leftOut.test(name))
    .map(async (entry): Promise<PlannedFile[]> => {
      const source = join(folder, entry.name);
      if (entry.isDirectory()) return planFolder(source, leftOut);
      const file = await planFile(source);
      return file === undefined ? [] : [file];
    });
  return (await Promise.all(plans)).flat();
}

/** A file of ours that every root gets. */
export async function planOwnFile(source: string, target: string): Promise<PlannedFile[]> {
  const file = await planFile(source);
  if (file === undefined) throw new Error(`${source} is missing`);
  return [{ ...file, target }];
}

/** The shared libraries that binaries of the machine need, with their own needs, as `ldd` finds them. */
export async function findLibraries(ldd: string, binaries: readonly string[]): Promise<PlannedFile[]> {
  // It fails for a binary that needs none, and tells about the others all the same.
  const text = await run(ldd, [...binaries], {
    env: {},
    timeout: LDD_TIMEOUT_MS,
    maxBuffer: 16 * 1024 * 1024,
  }).then(
    ({ stdout }) => stdout,
    (error: { stdout?: string }) => error.stdout ?? '',
  );
  const paths = new Set([...text.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].flatMap(([, path]) => path ?? []));
  const libc = [...paths].find((path) => /\/libc\.so\.6$/.test(path));
  // glibc opens it by name when a thread is cancelled, so no binary lists it.
  if (libc !== undefined) paths.add(join(dirname(libc), 'libgcc_s.so.1'));
  const files = await Promise.all([...paths].map(planFile));
  return files.flatMap((file) => (file === undefined ? [] : [{ ...file, isLibrary: true }]));
}

/** Copies the plan and adds what a root needs besides. */
export async function copyRoot(root: string, plan: readonly PlannedFile[]): Promise<void> {
  for (const folder of ['dev', 'etc', 'mcp', 'tmp', 'usr/bin', 'usr/lib', 'usr/lib64']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  for (const name of ['bin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(root, name));
  for (const [name, text] of Object.entries(ETC)) await writeFile(join(root, 'etc', name), text);
  const rest = plan[Symbol.iterator]();
  const copyRest = async () => {
    for (const file of rest) await copyPlanned(root, file);
  };
  await Promise.all(Array.from({ length: COPIES_AT_ONCE }, copyRest));
}

const ETC = {
  passwd: 'mcp:x:65534:65534::/tmp:/nonexistent\n',
  group: 'mcp:x:65534:\n',
  hosts: '127.0.0.1 localhost\n::1 localhost\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files\n',
};

const run = promisify(execFile);

async function planFile(source: string): Promise<PlannedFile | undefined> {
  const there = await stat(source).catch(() => undefined);
  if (!there?.isFile()) return undefined;
  return { source, target: toRootPath(source), sizeBytes: there.size, modifiedAtMs: there.mtimeMs };
}

async function copyPlanned(root: string, { source, target }: PlannedFile): Promise<void> {
  const path = join(root, target);
  await mkdir(dirname(path), { recursive: true });
  await copyFile(source, path);
  const { mode } = await stat(source);
  await chmod(path, (mode & 0o111) === 0 ? 0o644 : 0o755);
}
