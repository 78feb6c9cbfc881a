import type { Stats } from 'node:fs';
import { chmod, lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256Hex } from '../../../core/bytes.ts';

/**
 * Names a folder by what is in it: SHA-256, hex, over one line for each path in byte order, with kind and mode
 * and the SHA-256 of its content, or where a link leads. Owners and times do not count.
 */
export async function hashRoot(folder: string): Promise<string> {
  const entries = await walk(folder);
  const lines: string[] = [];
  const rest = entries[Symbol.iterator]();
  const describeRest = async () => {
    for (const entry of rest) lines.push(await describe(folder, entry));
  };
  await Promise.all(Array.from({ length: READS_AT_ONCE }, describeRest));
  return sha256Hex(sortLines(lines));
}

/** The same without reading any content: tells when a disk cleaner took something. */
export async function fingerprint(folder: string): Promise<string> {
  const entries = await walk(folder);
  return sha256Hex(sortLines(entries.map(({ path, stats }) => `${path}\0${stats.mode}\0${stats.size}`)));
}

/** Whatever the umask was: jails run as users who are not the owner. */
export async function openToReaders(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const { path, stats } of await walk(folder)) {
    const isOpen = stats.isDirectory() || (stats.mode & 0o100) !== 0;
    if (!stats.isSymbolicLink()) await chmod(join(folder, path), isOpen ? 0o755 : 0o644);
  }
}

const READS_AT_ONCE = 8;

type Entry = { path: string; stats: Stats };

async function walk(root: string, folder = ''): Promise<Entry[]> {
  const found: Entry[] = [];
  for (const name of await readdir(join(root, folder))) {
    const path = join(folder, name);
    const stats = await lstat(join(root, path));
    found.push({ path, stats });
    if (stats.isDirectory()) found.push(...(await walk(root, path)));
  }
  return found;
}

async function describe(root: string, { path, stats }: Entry): Promise<string> {
  const place = join(root, path);
  const mode = (stats.mode & 0o7777).toString(8);
  if (stats.isSymbolicLink()) return `${path}\0link\0${await readlink(place)}`;
  if (stats.isDirectory()) return `${path}\0folder ${mode}\0`;
  return `${path}\0file ${mode}\0${sha256Hex(await readFile(place))}`;
}

function sortLines(lines: readonly string[]): Buffer {
  const sorted = lines.map((line) => Buffer.from(`${line}\n`)).sort(Buffer.compare);
  return Buffer.concat(sorted);
}
