import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { BuiltRoot, RootKind, RootPlan } from '../../policy/roots/build-root.ts';
import { buildRoot } from '../../policy/roots/build-root.ts';
import { fingerprint } from '../../policy/roots/root-hash.ts';
import { isOwnerDead, isOwnerId, ownOwnerId } from './owner.ts';
import type { WorkDir } from './work-dir.ts';

/** A root file system on disk. */
export type StoredRoot = BuiltRoot & { folder: string };

/** Every root of a kind that is there and whole; the first is this machine's own, built when it is not there. */
export async function keepRoots(
  workDir: WorkDir,
  plan: RootPlan,
  onBuild: () => void,
): Promise<readonly [StoredRoot, ...StoredRoot[]]> {
  const names = (await readdir(workDir.roots)).filter((name) => name.startsWith(`${plan.kind}-`));
  const whole: (Manifest & StoredRoot)[] = [];
  for (const name of names) {
    const root = await readWhole(join(workDir.roots, name));
    if (root === undefined) await discard(workDir, join(workDir.roots, name));
    else whole.push(root);
  }
  let current = whole.find(({ recipe }) => recipe === plan.recipe);
  if (current === undefined) {
    onBuild();
    current = await buildInto(workDir, plan);
  }
  const now = new Date();
  await utimes(join(current.folder, '..'), now, now);
  const { sha256 } = current;
  const others = whole.filter((root) => root.sha256 !== sha256);
  return [current, ...(await removeOldest(workDir, plan.kind, others))];
}

/** Removes what builds that died left behind; answers how many. */
export async function sweepBuilds(folder: string): Promise<number> {
  let count = 0;
  for (const name of await readdir(folder)) {
    const owner = BUILDING.exec(name)?.[1] ?? '';
    if (!isOwnerId(owner) || !isOwnerDead(owner)) continue;
    await rm(join(folder, name), { recursive: true, force: true });
    count += 1;
  }
  return count;
}

/** A place beside the others to build in, which a sweep removes when we die. */
export function newPlace(folder: string): string {
  return join(folder, `building-${ownOwnerId()}-${randomBytes(4).toString('hex')}`);
}

const BUILDING = /^building-(.+)-[0-9a-f]{8}$/;
/** Older ones are what versions of that time were published on. */
const ROOTS_KEPT = 4;
/** While another gateway lives that may run jails on any of them. */
const ROOTS_KEPT_SHARED = 16;

/** What stands beside a root. */
const manifestSchema = z.object({
  kind: z.enum(['python', 'node']),
  version: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  command: z.array(z.string()).min(2),
  environment: z.record(z.string(), z.string()),
  prlimit: z.string().startsWith('/'),
  recipe: z.string(),
  fingerprint: z.string(),
});
type Manifest = z.infer<typeof manifestSchema>;

const manifestOf = (place: string) => join(place, 'root.json');
const rootOf = (place: string) => join(place, 'root');

/** Disk cleaners remove single old files: a root that lost some is none. */
async function readWhole(place: string): Promise<(Manifest & StoredRoot) | undefined> {
  const text = await readFile(manifestOf(place), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const manifest = manifestSchema.safeParse(parseJson(text));
  if (!manifest.success || manifest.data.fingerprint !== (await fingerprint(rootOf(place)))) return undefined;
  return { ...manifest.data, folder: rootOf(place) };
}

/** Builds aside and renames: a root is there whole or not at all, however many build it at once. */
async function buildInto(workDir: WorkDir, plan: RootPlan): Promise<Manifest & StoredRoot> {
  const aside = newPlace(workDir.roots);
  try {
    const built = await buildRoot(plan, rootOf(aside));
    const print = await fingerprint(rootOf(aside));
    const manifest = { ...toManifest(built), recipe: plan.recipe, fingerprint: print };
    await writeFile(manifestOf(aside), JSON.stringify(manifest));
    await chmod(aside, 0o755);
    const place = join(workDir.roots, `${plan.kind}-${built.sha256}`);
    try {
      await rename(aside, place);
    } catch (error) {
      // Another gateway was quicker, or the machine's files are new and yet the same: that root is as good.
      if ((await readWhole(place)) === undefined) throw error;
      await rename(manifestOf(aside), manifestOf(place));
    }
    return { ...manifest, folder: rootOf(place) };
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

function toManifest(root: BuiltRoot): Omit<Manifest, 'recipe' | 'fingerprint'> {
  return { ...root, command: [...root.command], environment: { ...root.environment } };
}

async function discard(workDir: WorkDir, place: string): Promise<void> {
  const aside = newPlace(workDir.roots);
  await mkdir(aside);
  await rename(place, join(aside, 'discarded')).catch(() => undefined);
  await rm(aside, { recursive: true, force: true });
}

/** Answers those that stay, the newest first. */
async function removeOldest<T extends StoredRoot>(
  workDir: WorkDir,
  kind: RootKind,
  others: readonly T[],
): Promise<T[]> {
  const usedAt = async (root: T) => (await stat(join(root.folder, '..'))).mtimeMs;
  const dated = await Promise.all(others.map(async (root) => ({ root, at: await usedAt(root) })));
  const newest = dated.sort((a, b) => b.at - a.at).map(({ root }) => root);
  const kept = newest.slice(0, ((await isShared(workDir)) ? ROOTS_KEPT_SHARED : ROOTS_KEPT) - 1);
  for (const { sha256 } of newest.slice(kept.length))
    await discard(workDir, join(workDir.roots, `${kind}-${sha256}`));
  return kept;
}

/** Whether another gateway that lives works in this folder. */
async function isShared(workDir: WorkDir): Promise<boolean> {
  const others = (await readdir(workDir.owners)).filter((owner) => owner !== ownOwnerId());
  return others.some((owner) => isOwnerId(owner) && !isOwnerDead(owner));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
