import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { promisify } from 'node:util';
import { sha256Hex } from '../../../core/bytes.ts';

/** A file of the machine and where it goes. Size and time tell when the machine got another one. */
export type PlannedFile = {
  source: string;
  /** Absolute, inside the root. */
  target: string;
  sizeBytes: number;
  modifiedAtMs: number;
  isLibrary?: boolean;
  /** Of a file of ours. */
  sha256?: string;
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
      const file = await lookForFile(source);
      return file === undefined ? [] : [file];
    });
  return (await Promise.all(plans)).flat();
}

/** One file; where it goes follows from where it is, unless told. Throws when it is missing. */
export async function planFile(source: string, target = toRootPath(source)): Promise<PlannedFile> {
  const file = await lookForFile(source);
  if (file === undefined) throw new Error(`${source} is missing`);
  return { ...file, target };
}

/** A file of ours. */
export async function planOwnFile(source: string, target: string): Promise<PlannedFile> {
  return { ...(await planFile(source, target)), sha256: sha256Hex(await readFile(source)) };
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
  const files = await Promise.all([...paths].map(lookForFile));
  return files.flatMap((file) => (file === undefined ? [] : [{ ...file, isLibrary: true }]));
}

/** Folders that the dynamic linker does not search by itself, as its environment: a root has no `ld.so.cache`. */
export function libraryPathOf(plan: readonly PlannedFile[]): { LD_LIBRARY_PATH?: string } {
  const folders = plan.filter(({ isLibrary }) => isLibrary).map(({ target }) => dirname(target));
  const usual = /^\/usr\/lib(64|\/[a-z0-9_]+-linux-gnu)?$/;
  const unusual = [...new Set(folders)].filter((folder) => !usual.test(folder)).sort();
  return unusual.length === 0 ? {} : { LD_LIBRARY_PATH: unusual.join(':') };
}

/** Copies the plan and adds what a root needs besides. */
export async function copyRoot(root: string, plan: readonly PlannedFile[]): Promise<void> {
  for (const folder of FOLDERS) await mkdir(join(root, folder), { recursive: true });
  for (const name of ['bin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(root, name));
  for (const [name, text] of Object.entries(ETC)) await writeFile(join(root, 'etc', name), text);
  // Where Python, Go and OpenSSL look on Debian: for tools that are given a way to their hosts.
  await mkdir(join(root, dirname(CERTIFICATES)), { recursive: true });
  await writeFile(join(root, CERTIFICATES), CERTIFICATE_AUTHORITIES);
  const rest = plan[Symbol.iterator]();
  const copyRest = async () => {
    for (const file of rest) await copyPlanned(root, file);
  };
  await Promise.all(Array.from({ length: COPIES_AT_ONCE }, copyRest));
}

/** Where a backend mounts something is a folder too: nothing can be made in a root that is read-only. */
const FOLDERS = ['dev', 'etc', 'layers', 'mcp', 'run', 'tmp', 'usr/bin', 'usr/lib', 'usr/lib64'];

const ETC = {
  passwd: 'mcp:x:65534:65534::/tmp:/nonexistent\n',
  group: 'mcp:x:65534:\n',
  hosts: '127.0.0.1 localhost\n::1 localhost\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files\n',
};

const CERTIFICATES = 'etc/ssl/certs/ca-certificates.crt';
/** Mozilla's, as Node brings them: they are there on every machine, and the same. */
const CERTIFICATE_AUTHORITIES = `${rootCertificates.join('\n')}\n`;

/** Names what a root gets besides its plan. */
export const BESIDES_SHA256 = sha256Hex(JSON.stringify([FOLDERS, ETC, CERTIFICATE_AUTHORITIES]));

const run = promisify(execFile);

async function lookForFile(source: string): Promise<PlannedFile | undefined> {
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
