import { HASH_BYTES, type Hash, merkleRoot, type NodeReader, splitHashes } from '../../merkle/merkle.ts';
import { placeOf, type TilePlace } from './tile.ts';

/** The hashes of tiles; a tile that is not there is left out. */
export type ReadTiles = (places: readonly TilePlace[]) => Promise<Map<string, Buffer>>;

/** A tile that the tree must have is missing or too short. */
export class MissingTileError extends Error {
  override name = 'MissingTileError';
}

const NO_HASH = Buffer.alloc(HASH_BYTES);

export function keyOf(place: TilePlace): string {
  return `${place.level}/${place.n}`;
}

/**
 * Computes from full subtrees with one read of all the tiles they are in: `compute` runs once to tell which it
 * needs, and once more with them. Throws `MissingTileError` when one is not there.
 */
export async function withTiles<Result>(
  readTiles: ReadTiles,
  compute: (read: NodeReader) => Result,
): Promise<Result> {
  const places = new Map<string, TilePlace>();
  compute((level, index) => {
    const place = placeOf(level, index);
    places.set(keyOf(place), place);
    return NO_HASH;
  });
  const tiles = places.size === 0 ? new Map<string, Buffer>() : await readTiles([...places.values()]);
  return compute((level, index) => readNode(tiles, level, index));
}

function readNode(tiles: ReadonlyMap<string, Buffer>, level: number, index: number): Hash {
  const place = placeOf(level, index);
  const data = tiles.get(keyOf(place));
  const end = (place.from + place.width) * HASH_BYTES;
  if (!data || data.length < end) throw new MissingTileError(`tile ${keyOf(place)} is missing or too short`);
  return merkleRoot(splitHashes(data.subarray(place.from * HASH_BYTES, end)));
}
