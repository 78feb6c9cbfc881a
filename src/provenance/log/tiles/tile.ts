/** How many hashes a full tile holds (C2SP tlog-tiles). */
export const TILE_WIDTH = 256;

/** The levels of the tree that one level of tiles spans: 2^8 is 256. */
const TILE_HEIGHT = 8;

export type TilePlace = { level: number; n: number };

/** A tile at the right edge of a tree, which further leaves make wider. */
export type EdgePlace = TilePlace & { width: number };

/** The tiles of a tree of this size that are begun and not full, the lowest level first. */
export function rightEdge(treeSize: number): EdgePlace[] {
  const edge: EdgePlace[] = [];
  let hashes = treeSize;
  for (let level = 0; hashes > 0; level++) {
    const n = Math.floor(hashes / TILE_WIDTH);
    const width = hashes - n * TILE_WIDTH;
    if (width > 0) edge.push({ level, n, width });
    hashes = n;
  }
  return edge;
}

/** In which tile the root of a full subtree is found, at or below which of its hashes. */
export function placeOf(level: number, index: number): TilePlace & { from: number; width: number } {
  const tileLevel = Math.floor(level / TILE_HEIGHT);
  const width = 2 ** (level - tileLevel * TILE_HEIGHT);
  const first = index * width;
  const n = Math.floor(first / TILE_WIDTH);
  return { level: tileLevel, n, from: first - n * TILE_WIDTH, width };
}

/** How long a log is at least that has this much of a tile. */
export function treeSizeBehind(tile: EdgePlace): number {
  return (tile.n * TILE_WIDTH + tile.width) * TILE_WIDTH ** tile.level;
}

/** Six levels of tiles hold 2^48 leaves, the seventh more than can be counted. */
const TILE_LEVEL_MAX = 6;

/** Whether there can be such a tile; a partial one has 1 to 255 hashes, a full one 256. */
export function isTile(tile: EdgePlace): boolean {
  const { level, n, width } = tile;
  if (![level, n, width].every((count) => Number.isSafeInteger(count) && count >= 0)) return false;
  if (level > TILE_LEVEL_MAX || width < 1 || width > TILE_WIDTH) return false;
  return Number.isSafeInteger(treeSizeBehind(tile));
}
