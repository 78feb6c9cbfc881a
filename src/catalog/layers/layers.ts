import { sha256Hex } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { invariant } from '../../core/invariant.ts';
import { type Sql, withTransaction } from '../../db/index.ts';
import type { Layer } from '../../execution/backend.ts';
import type { LayerShelf, StoredLayer } from '../../execution/build/layer-shelf.ts';
import {
  deleteStrayParts,
  deleteUnused,
  findLayer,
  findPart,
  insertLayer,
  insertPart,
  insertRecipe,
  useRecipe,
} from './store.ts';

/** Layers of dependencies, by the hash of their content, where every gateway of the database finds them. */
export type Layers = LayerShelf & {
  /** What a backend mounts; nothing is read before it asks. */
  open(sha256: string): Layer;
  /** Removes what no version has and no build has used since then; answers how many layers went. */
  sweep(unusedSince: Date): Promise<number>;
};

const PART_BYTES_MAX = 8 * 1024 * 1024;

export function createLayers({ sql, clock }: { sql: Sql; clock: Clock }): Layers {
  return {
    async findByRecipe(recipeHash) {
      const row = await useRecipe(sql, { recipeHash, usedAt: clock.now() });
      return row && toStored(row);
    },
    async keep({ recipeHash, archive }) {
      const name = sha256Hex(archive);
      if ((await findLayer(sql, name)) === undefined) await writeParts(sql, clock, name, archive);
      return withTransaction(sql, async (tx) => {
        const createdAt = clock.now();
        await insertLayer(tx, { sha256: name, size: BigInt(archive.length), createdAt });
        await insertRecipe(tx, { recipeHash, sha256: name, createdAt });
        const row = await useRecipe(tx, { recipeHash, usedAt: createdAt });
        invariant(row, `the recipe ${recipeHash} was stored and is not there`);
        return toStored(row);
      });
    },
    open: (name) => ({ sha256: name, read: () => readLayer(sql, name) }),
    async sweep(unusedSince) {
      const count = await withTransaction(sql, (tx) => deleteUnused(tx, unusedSince));
      await deleteStrayParts(sql, unusedSince);
      return count;
    },
  };
}

/** A layer in parts of at most 8 MiB, each read when it is asked for; what they come to is the reader's to hash. */
export async function readLayerParts(
  sql: Sql,
  name: string,
): Promise<{ bytes: number; parts: AsyncGenerator<Buffer, void, undefined> }> {
  const layer = await findLayer(sql, name);
  invariant(layer, `the layer ${name} is not in the catalog`);
  const bytes = Number(layer.size);
  return { bytes, parts: readParts(sql, name, bytes) };
}

async function* readParts(sql: Sql, name: string, bytes: number): AsyncGenerator<Buffer, void, undefined> {
  let length = 0;
  for (let number = 0; length < bytes; number += 1) {
    const part = await findPart(sql, name, number);
    invariant(part && part.length <= bytes - length, `the layer ${name} lacks a part`);
    length += part.length;
    yield part;
  }
}

async function writeParts(sql: Sql, clock: Clock, name: string, archive: Uint8Array): Promise<void> {
  for (let number = 0; number * PART_BYTES_MAX < archive.length; number += 1) {
    const content = Buffer.from(archive.subarray(number * PART_BYTES_MAX, (number + 1) * PART_BYTES_MAX));
    await insertPart(sql, { sha256: name, number, content, createdAt: clock.now() });
  }
}

async function readLayer(sql: Sql, name: string): Promise<Uint8Array> {
  const { bytes, parts } = await readLayerParts(sql, name);
  const archive = Buffer.alloc(bytes);
  let length = 0;
  for await (const part of parts) length += part.copy(archive, length);
  invariant(sha256Hex(archive) === name, `the stored layer ${name} has changed`);
  return archive;
}

function toStored({ sha256: name, size }: { sha256: string; size: bigint }): StoredLayer {
  return { sha256: name, bytes: Number(size) };
}
