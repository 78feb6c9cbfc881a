import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { invariant } from '../../../core/invariant.ts';

/**
 * Writes a publisher's files where only one jail's user can read them. Not even that user can change them:
 * the owner stays the gateway, and the jail mounts them read-only besides.
 */
export async function writeCode(
  folder: string,
  files: ReadonlyMap<string, Uint8Array>,
  readerGid: number | undefined,
): Promise<void> {
  const mode = readerGid === undefined ? 0o700 : 0o750;
  // Others are kept out at the top; below it the modes only have to let the reader in.
  await mkdir(folder, { mode });
  await chmod(folder, mode);
  if (readerGid !== undefined) await chown(folder, -1, readerGid);
  for (const [path, content] of files) {
    invariant(isInside(path), `a file name that climbs out: ${path}`);
    await makeFolders(folder, dirname(path));
    await writeFile(join(folder, path), content, { flag: 'wx', mode: 0o644 });
    await chmod(join(folder, path), 0o644);
  }
}

/** `core/archive.ts` refuses such names at publishing; this is the last door before the disk. */
function isInside(path: string): boolean {
  return (
    path.split('/').every((part) => part !== '' && part !== '.' && part !== '..') && !path.includes('\0')
  );
}

async function makeFolders(base: string, path: string): Promise<void> {
  if (path === '.') return;
  await makeFolders(base, dirname(path));
  const folder = join(base, path);
  await mkdir(folder, { recursive: true });
  await chmod(folder, 0o755);
}
