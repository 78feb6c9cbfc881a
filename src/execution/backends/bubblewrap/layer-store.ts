import { chmod, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readArchive } from '../../../core/archive.ts';
import { sha256Hex } from '../../../core/bytes.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import type { Layer } from '../../backend.ts';
import { fingerprint } from '../../policy/roots/root-hash.ts';
import { newPlace } from './root-store.ts';

export type LayerStore = {
  /** The folder to mount; unpacked when it is not there. It stays at least until `release` is called. */
  lease(layer: Layer): Promise<{ folder: string; release(): void }>;
};

export type LayerBounds = {
  /** What layers may take on disk; those in use or just used stay all the same. */
  bytesMax: number;
  /** Another gateway may be about to mount what was used this lately. */
  keptMs: number;
};

const GIB = 1024 * 1024 * 1024;
export const LAYER_BOUNDS: LayerBounds = { bytesMax: 2 * GIB, keptMs: 10 * 60_000 };

/** Layers of dependencies on disk: each unpacked once, named by its content, the least recently used ones removed. */
export function createLayerStore(folder: string, log: Log, bounds: LayerBounds = LAYER_BOUNDS): LayerStore {
  const leases = new Map<string, number>();
  const arriving = new Map<string, Promise<void>>();
  /** Until when a large layer is believed to be whole. */
  const believed = new Map<string, number>();
  const believe = async ({ sha256 }: Layer, place: string): Promise<void> => {
    const bytes = Number(await readFile(sizeOf(place), 'utf8').catch(() => '0'));
    if (bytes > CHECKED_BYTES_MAX) believed.set(sha256, Date.now() + BELIEVED_MS);
  };
  const arrive = async (layer: Layer): Promise<void> => {
    const place = join(folder, layer.sha256);
    if (Date.now() < (believed.get(layer.sha256) ?? 0) && (await isThere(place))) return;
    believed.delete(layer.sha256);
    if (await isWhole(place)) return believe(layer, place);
    await discard(folder, place);
    await unpackInto(folder, place, layer);
    await believe(layer, place);
    await removeOldest(folder, leases, bounds).catch((error: unknown) =>
      log.warn({ err: error }, 'old layers could not be removed'),
    );
  };
  const release = (sha256: string) => {
    const count = (leases.get(sha256) ?? 1) - 1;
    if (count > 0) leases.set(sha256, count);
    else leases.delete(sha256);
  };
  return {
    async lease(layer) {
      const { sha256 } = layer;
      invariant(SHA256.test(sha256), `a layer is named ${sha256}`);
      leases.set(sha256, (leases.get(sha256) ?? 0) + 1);
      try {
        const coming = arriving.get(sha256) ?? arrive(layer).finally(() => arriving.delete(sha256));
        arriving.set(sha256, coming);
        await coming;
        const now = new Date();
        await utimes(join(folder, sha256), now, now);
      } catch (error) {
        release(sha256);
        throw error;
      }
      let isReleased = false;
      return {
        folder: filesOf(join(folder, sha256)),
        release() {
          if (!isReleased) release(sha256);
          isReleased = true;
        },
      };
    },
  };
}

const SHA256 = /^[0-9a-f]{64}$/;
/** To look at every file of a larger one takes seconds: not for each call. */
const CHECKED_BYTES_MAX = 1024 * 1024;
/** Less than `LayerBounds.keptMs`: whoever believes in a layer has used it too lately for it to be removed. */
const BELIEVED_MS = 5 * 60_000;
const filesOf = (place: string) => join(place, 'files');
const printOf = (place: string) => join(place, 'fingerprint');
const sizeOf = (place: string) => join(place, 'bytes');

async function isThere(place: string): Promise<boolean> {
  return stat(printOf(place)).then(
    () => true,
    () => false,
  );
}

/** Disk cleaners remove single old files: a layer that lost some is unpacked anew. */
async function isWhole(place: string): Promise<boolean> {
  const expected = await readFile(printOf(place), 'utf8').catch(() => undefined);
  return expected !== undefined && expected === (await fingerprint(filesOf(place)));
}

/** Unpacks aside and renames: a layer is there whole or not at all, however many unpack it at once. */
async function unpackInto(folder: string, place: string, layer: Layer): Promise<void> {
  const archive = await layer.read();
  invariant(sha256Hex(archive) === layer.sha256, `the stored layer ${layer.sha256} has changed`);
  const aside = newPlace(folder);
  try {
    const made = new Set<string>();
    const makeFolder = async (path: string): Promise<void> => {
      if (made.has(path)) return;
      made.add(path);
      if (path !== aside) await makeFolder(dirname(path));
      await mkdir(path, { recursive: true });
      await chmod(path, 0o755);
    };
    await makeFolder(filesOf(aside));
    for (const [path, content] of readArchive(archive, { longPaths: 'pax' })) {
      const file = join(filesOf(aside), path);
      await makeFolder(dirname(file));
      await writeFile(file, content);
      // An archive knows no modes, and some packages bring programs.
      await chmod(file, 0o555);
    }
    await writeFile(sizeOf(aside), String(archive.length));
    await writeFile(printOf(aside), await fingerprint(filesOf(aside)));
    await rename(aside, place);
  } catch (error) {
    // Another gateway was quicker, and its layer is as good.
    if (!(await isWhole(place))) throw error;
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

async function discard(folder: string, place: string): Promise<void> {
  const aside = newPlace(folder);
  await mkdir(aside);
  await rename(place, join(aside, 'discarded')).catch(() => undefined);
  await rm(aside, { recursive: true, force: true });
}

async function removeOldest(
  folder: string,
  leases: ReadonlyMap<string, number>,
  bounds: LayerBounds,
): Promise<void> {
  const names = (await readdir(folder)).filter((name) => SHA256.test(name));
  const layers = await Promise.all(
    names.map(async (name) => {
      const place = join(folder, name);
      const usedAt = await stat(place).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      );
      const bytes = Number(await readFile(sizeOf(place), 'utf8').catch(() => '0'));
      return { name, place, usedAt, bytes };
    }),
  );
  let total = layers.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { name, place, usedAt, bytes } of layers.sort((a, b) => a.usedAt - b.usedAt)) {
    if (total <= bounds.bytesMax) return;
    if (leases.has(name) || Date.now() - usedAt < bounds.keptMs) continue;
    await discard(folder, place);
    total -= bytes;
  }
}
