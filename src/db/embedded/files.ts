import { randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import { chown, lstat, readFile, readlink, rename, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

export function hasErrorCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

/** What is at the path, a link not followed; undefined when nothing is. */
export function statIfThere(path: string): Promise<Stats | undefined> {
  return lstat(path).catch(undefinedIfAbsent);
}

export function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(undefinedIfAbsent);
}

/** Where a link leads; undefined when there is no link. */
export function readLinkIfThere(path: string): Promise<string | undefined> {
  return readlink(path).catch(undefinedIfAbsent);
}

/** Writes a private file in one step, so that a crash leaves the old one or the new one. */
export async function writePrivately(path: string, text: string): Promise<void> {
  const draft = `${path}.${randomUUID()}`;
  await writeFile(draft, text, { mode: 0o600, flag: 'wx' });
  await ownAsParent(draft);
  await rename(draft, path);
}

/** Gives what root made to whom the folder belongs to: a later start may be that user's. */
export async function ownAsParent(path: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const parent = await stat(dirname(path));
  await chown(path, parent.uid, parent.gid);
}

function undefinedIfAbsent(error: unknown): undefined {
  if (hasErrorCode(error, 'ENOENT')) return undefined;
  throw error;
}
