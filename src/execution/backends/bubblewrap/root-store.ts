import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { chmod, lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256Hex } from '../../../core/bytes.ts';
import { isOwnerDead, isOwnerId, ownOwnerId } from './owner.ts';
import type { WorkDir } from './work-dir.ts';

export type RootOrder = {
  workDir: WorkDir;
  kind: string;
  /** Everything that decides what the root will be; JSON. */
  recipe: unknown;
  build: (target: string) => Promise<void>;
};

/** The root of this recipe: the one that is there, when it is whole, or a new one. */
export async function keepRoot({ workDir, kind, recipe, build }: RootOrder): Promise<string> {
  const name = `${kind}-${sha256Hex(JSON.stringify(recipe)).slice(0, 24)}`;
  const place = join(workDir.roots, name);
  if (!(await isWhole(place))) {
    await discard(workDir, place);
    await buildInto(workDir, place, build);
  }
  await removeOthers(workDir, kind, name);
  return join(place, 'root');
}

/** Removes what a build that died left behind; answers how many. */
export async function sweepBuilds(workDir: WorkDir): Promise<number> {
  let count = 0;
  for (const name of await readdir(workDir.roots)) {
    const owner = BUILDING.exec(name)?.[1] ?? '';
    if (!isOwnerId(owner) || !isOwnerDead(owner)) continue;
    await rm(join(workDir.roots, name), { recursive: true, force: true });
    count += 1;
  }
  return count;
}

const BUILDING = /^building-(.+)-[0-9a-f]{8}$/;

/** Builds aside and renames: a root is there whole or not at all, however many build it at once. */
async function buildInto(workDir: WorkDir, place: string, build: RootOrder['build']): Promise<void> {
  const aside = newPlace(workDir);
  const root = join(aside, 'root');
  try {
    await mkdir(root, { recursive: true });
    await build(root);
    await openToReaders(root);
    await chmod(aside, 0o755);
    await writeFile(join(aside, 'fingerprint'), await fingerprint(root));
    await rename(aside, place);
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    // Another gateway was quicker, and its root is as good.
    if (!(await isWhole(place))) throw error;
  }
}

function newPlace(workDir: WorkDir): string {
  return join(workDir.roots, `building-${ownOwnerId()}-${randomBytes(4).toString('hex')}`);
}

async function discard(workDir: WorkDir, place: string): Promise<void> {
  const aside = newPlace(workDir);
  const hadOne = await rename(place, aside).then(
    () => true,
    () => false,
  );
  if (hadOne) await rm(aside, { recursive: true, force: true });
}

/** Disk cleaners remove single old files: a root that lost some is built anew. */
async function isWhole(place: string): Promise<boolean> {
  const expected = await readFile(join(place, 'fingerprint'), 'utf8').catch(() => undefined);
  return expected !== undefined && expected === (await fingerprint(join(place, 'root')));
}

async function fingerprint(root: string): Promise<string> {
  const lines = await walk(root, '', async (path, stats) => `${path} ${stats.mode} ${stats.size}`);
  return sha256Hex(lines.sort().join('\n'));
}

/** Whatever the umask was: jails run as users who are not the owner. */
async function openToReaders(root: string): Promise<void> {
  await chmod(root, 0o755);
  await walk(root, '', async (path, stats) => {
    const isOpen = stats.isDirectory() || (stats.mode & 0o100) !== 0;
    if (!stats.isSymbolicLink()) await chmod(join(root, path), isOpen ? 0o755 : 0o644);
    return path;
  });
}

async function walk(
  root: string,
  folder: string,
  visit: (path: string, stats: Stats) => Promise<string>,
): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(join(root, folder))) {
    const path = join(folder, name);
    const stats = await lstat(join(root, path));
    found.push(await visit(path, stats));
    if (stats.isDirectory()) found.push(...(await walk(root, path, visit)));
  }
  return found;
}

/** Roots of an earlier interpreter, unless another gateway may still run jails on them. */
async function removeOthers(workDir: WorkDir, kind: string, name: string): Promise<void> {
  const owners = (await readdir(workDir.owners)).filter((owner) => owner !== ownOwnerId());
  if (owners.some((owner) => isOwnerId(owner) && !isOwnerDead(owner))) return;
  for (const other of await readdir(workDir.roots)) {
    if (!other.startsWith(`${kind}-`) || other === name) continue;
    await rm(join(workDir.roots, other), { recursive: true, force: true });
  }
}
