import { type Hash, merkleRoot } from '../../merkle/merkle.ts';
import { TILE_WIDTH, type TilePlace } from './tile.ts';

/** What a tree needs to know of itself to grow: the hashes of its tiles that are not full, level by level. */
export type Frontier = { treeSize: number; levels: readonly (readonly Hash[])[] };

/** Hashes that a tile gets at its end, after the `width` that it has. */
export type TileGrowth = TilePlace & { width: number; hashes: readonly Hash[] };

/** The root of the tree behind a frontier (RFC 6962, section 2.1). */
export function rootOf(frontier: Frontier): Hash {
  let right: Hash | undefined;
  for (const hashes of frontier.levels) {
    // What the lower levels hold is the last, smaller subtree of this one.
    const nodes = right ? [...hashes, right] : hashes;
    if (nodes.length > 0) right = merkleRoot(nodes);
  }
  return right ?? merkleRoot([]);
}

/** Appends leaves: each tile that gets full is a hash of the level above it. */
export function grow(
  frontier: Frontier,
  leafHashes: readonly Hash[],
): { frontier: Frontier; growth: TileGrowth[] } {
  const levels: (readonly Hash[])[] = [];
  const growth: TileGrowth[] = [];
  let count = frontier.treeSize;
  let added = leafHashes;
  for (let level = 0; count > 0 || added.length > 0; level++) {
    const begun = frontier.levels[level] ?? [];
    const firstN = Math.floor(count / TILE_WIDTH);
    const hashes = [...begun, ...added];
    const filled: Hash[] = [];
    let from = 0;
    for (; from + TILE_WIDTH <= hashes.length; from += TILE_WIDTH) {
      filled.push(merkleRoot(hashes.slice(from, from + TILE_WIDTH)));
    }
    levels.push(hashes.slice(from));
    growth.push(...sliceGrowth({ level, firstN, width: begun.length, added }));
    count = firstN;
    added = filled;
  }
  return { frontier: { treeSize: frontier.treeSize + leafHashes.length, levels }, growth };
}

/** The added hashes tile by tile; the first tile has `width` already. */
function sliceGrowth(input: {
  level: number;
  firstN: number;
  width: number;
  added: readonly Hash[];
}): TileGrowth[] {
  const { level, firstN, added } = input;
  const growth: TileGrowth[] = [];
  let [from, width] = [0, input.width];
  for (let n = firstN; from < added.length; n++) {
    const hashes = added.slice(from, from + TILE_WIDTH - width);
    growth.push({ level, n, width, hashes });
    from += hashes.length;
    width = 0;
  }
  return growth;
}
