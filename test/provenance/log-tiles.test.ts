import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeTilePath,
  type Hash,
  leafHashOf,
  merkleRoot,
  parseTilePath,
} from '../../src/provenance/index.ts';
import { type Frontier, grow, rootOf } from '../../src/provenance/log/tiles/grow.ts';
import { rightEdge, treeSizeBehind } from '../../src/provenance/log/tiles/tile.ts';

const EMPTY: Frontier = { treeSize: 0, levels: [] };
const LEAVES = Array.from({ length: 66_200 }, (_, at) => leafHashOf(`leaf ${at}`));

/** The tiles that appends of these sizes leave, each as it stands at the end. */
function growAll(sizes: readonly number[]): { frontier: Frontier; tiles: Map<string, Hash[]> } {
  const tiles = new Map<string, Hash[]>();
  let frontier = EMPTY;
  for (const size of sizes) {
    const grown = grow(frontier, LEAVES.slice(frontier.treeSize, frontier.treeSize + size));
    for (const { level, n, width, hashes } of grown.growth) {
      const tile = tiles.get(`${level}/${n}`) ?? [];
      expect(tile).toHaveLength(width);
      expect(hashes.length).toBeGreaterThan(0);
      tile.push(...hashes);
      expect(tile.length).toBeLessThanOrEqual(256);
      tiles.set(`${level}/${n}`, tile);
    }
    frontier = grown.frontier;
  }
  return { frontier, tiles };
}

/** What the tile holds by the definition of C2SP tlog-tiles. */
function tileByHand(treeSize: number, level: number, n: number): Hash[] {
  const span = 256 ** level;
  const hashes: Hash[] = [];
  for (let at = n * 256; at < (n + 1) * 256 && (at + 1) * span <= treeSize; at++) {
    hashes.push(merkleRoot(LEAVES.slice(at * span, (at + 1) * span)));
  }
  return hashes;
}

describe('tiles', () => {
  it('hold what the tree has, whatever the sizes of the batches', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 12 });
    const property = fc.property(sizes, (batches) => {
      const { frontier, tiles } = growAll(batches);
      const { treeSize } = frontier;
      expect(rootOf(frontier)).toEqual(merkleRoot(LEAVES.slice(0, treeSize)));
      for (const [key, hashes] of tiles) {
        const [level = 0, n = 0] = key.split('/').map(Number);
        expect(hashes).toEqual(tileByHand(treeSize, level, n));
      }
      expect(tiles.size).toBe(Math.ceil(treeSize / 256) + (treeSize >= 256 ? 1 : 0));
    });
    fc.assert(property, { numRuns: 40 });
  });

  it('get a third level at 65,536 leaves, in one batch or in many', () => {
    const expected = new Map(
      [65_535, 65_536, 65_537, 66_100].map((size) => [size, merkleRoot(LEAVES.slice(0, size))]),
    );
    for (const sizes of [[65_535, 1, 1, 563], [65_536, 1, 563], [66_100], [255, 65_280, 1, 564]]) {
      let frontier = EMPTY;
      for (const size of sizes) {
        frontier = grow(frontier, LEAVES.slice(frontier.treeSize, frontier.treeSize + size)).frontier;
        const root = expected.get(frontier.treeSize);
        if (root) expect(rootOf(frontier)).toEqual(root);
      }
      expect(frontier.levels.map((hashes) => hashes.length)).toEqual([66_100 % 256, 2, 1]);
    }
  });

  it('at the right edge are those of the specification', () => {
    expect(rightEdge(0)).toEqual([]);
    expect(rightEdge(256)).toEqual([{ level: 1, n: 0, width: 1 }]);
    expect(rightEdge(70_000)).toEqual([
      { level: 0, n: 273, width: 112 },
      { level: 1, n: 1, width: 17 },
      { level: 2, n: 0, width: 1 },
    ]);
    expect(rightEdge(Number.MAX_SAFE_INTEGER)).toHaveLength(7);
    expect(treeSizeBehind({ level: 1, n: 1, width: 17 })).toBe((256 + 17) * 256);
  });
});

describe('the path of a tile', () => {
  it.each([
    ['0/000', { level: 0, n: 0, width: 256 }],
    ['0/x001/x234/067', { level: 0, n: 1_234_067, width: 256 }],
    ['1/273.p/112', { level: 1, n: 273, width: 112 }],
    ['entries/x001/000.p/1', { level: 'entries' as const, n: 1_000, width: 1 }],
  ])('%s is read and written as the specification says', (path, tile) => {
    expect(parseTilePath(path)).toEqual(tile);
    expect(encodeTilePath(tile)).toBe(path);
  });

  it('is read back as it was written', () => {
    const tile = fc.record({
      level: fc.constantFrom<(number | 'entries')[]>(0, 1, 2, 'entries'),
      n: fc.integer({ min: 0, max: 2 ** 28 }),
      width: fc.integer({ min: 1, max: 256 }),
    });
    const property = fc.property(tile, (one) => {
      expect(parseTilePath(encodeTilePath(one))).toEqual(one);
    });
    fc.assert(property);
  });

  it.each([
    ...['', '0', '0/', '/000', '0/0', '0/00', '0/0000', '00/000', '-1/000', '64/000', '7/000', '0/1000'],
    ...['0/x000/001', '0/001/002', '0/x001', '0/x001/', '0/x0001/002', '0/000/', '0/000.p', '0/000.p/'],
    ...['0/000.p/0', '0/000.p/256', '0/000.p/01', '0/000.p/-1', '0/000.p/1/', '0/000.P/1', 'Entries/000'],
    ...['0/x999/x999/x999/x999/x999/999', '0/x1/x2', '0/%30%30%30', '0/000\n', '0/../000', 'entries/abc'],
  ])('is not %j', (path) => {
    expect(parseTilePath(path)).toBeUndefined();
  });
});
