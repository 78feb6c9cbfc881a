import { rootOf } from '../../log/tiles/grow.ts';
import { rightEdge, TILE_WIDTH } from '../../log/tiles/tile.ts';
import type { TreeHead } from '../../log/transparency-log.ts';
import { type Hash, leafHashOf, merkleRoot, splitHashes } from '../../merkle/merkle.ts';
import { Alarm } from './alarm.ts';
import type { RemoteLog } from './remote-log.ts';

/** The tree of one signed checkpoint. Whatever it answers leads up to the signed root; else it throws an `Alarm`. */
export type TileTree = {
  /** The root that the first `treeSize` of its leaves have. */
  rootAt(treeSize: number): Promise<Hash>;
  /** The entries from `n * 256` on, 256 or as many as there are. */
  readEntries(n: number): Promise<Buffer[]>;
};

/** Full tiles kept for those below them; what is read lies close together. */
const TILES_KEPT_MAX = 64;

type Place = { level: number; n: number };
type ReadTile = (place: Place) => Promise<Hash[]>;

/** Reads the right edge of the tree, which makes the root: from there downwards each tile is vouched for. */
export async function openTileTree(remote: RemoteLog, head: TreeHead): Promise<TileTree> {
  const { treeSize } = head;
  const readTile = createTileReader(remote, { treeSize, edge: await readEdge(remote, head) });
  return {
    async rootAt(size) {
      const parts = rightEdge(size).map(async (place) => ({
        ...place,
        hashes: (await readTile(place)).slice(0, place.width),
      }));
      return rootOf({ treeSize: size, levels: toLevels(await Promise.all(parts)) });
    },
    async readEntries(n) {
      const width = Math.min(TILE_WIDTH, treeSize - n * TILE_WIDTH);
      const [hashes, entries] = await Promise.all([
        readTile({ level: 0, n }),
        remote.readEntries({ n, width }),
      ]);
      const wrong = entries.findIndex((entry, at) => !hashes[at]?.equals(leafHashOf(entry)));
      if (wrong < 0) return entries;
      throw new Alarm(
        'rewritten',
        `entry ${n * TILE_WIDTH + wrong} is not the one that the root is made of`,
        {
          entry: entries[wrong]?.toString('base64') ?? '',
          expectedHash: hashes[wrong]?.toString('hex') ?? '',
        },
      );
    },
  };
}

type Edge = ReadonlyMap<string, Hash[]>;

/** The tiles that are not full; throws an `Alarm` when they do not make the root. */
async function readEdge(remote: RemoteLog, { treeSize, root }: TreeHead): Promise<Edge> {
  const edge = new Map<string, Hash[]>();
  const tiles: { level: number; hashes: Hash[] }[] = [];
  for (const place of rightEdge(treeSize)) {
    const hashes = splitHashes(await remote.readTile(place));
    edge.set(nameOf(place), hashes);
    tiles.push({ level: place.level, hashes });
  }
  const levels = toLevels(tiles);
  if (rootOf({ treeSize, levels }).equals(root)) return edge;
  throw new Alarm(
    'rewritten',
    `the tiles of ${treeSize} leaves do not make the root that is signed for them`,
    {
      tiles: JSON.stringify(levels.map((hashes) => hashes.map((hash) => hash.toString('hex')))),
    },
  );
}

function createTileReader(remote: RemoteLog, tree: { treeSize: number; edge: Edge }): ReadTile {
  const kept = new Map<string, Promise<Hash[]>>();

  function readTile(place: Place): Promise<Hash[]> {
    const name = nameOf(place);
    const known = tree.edge.get(name);
    if (known) return Promise.resolve(known);
    const reading = kept.get(name) ?? readFullTile(place);
    // The oldest goes first, and what is used again is young again.
    kept.delete(name);
    kept.set(name, reading);
    const [oldest] = kept.keys();
    if (kept.size > TILES_KEPT_MAX && oldest !== undefined) kept.delete(oldest);
    return reading;
  }

  /** A tile that is full is one hash of the tile above it. */
  async function readFullTile({ level, n }: Place): Promise<Hash[]> {
    const above = await readTile({ level: level + 1, n: Math.floor(n / TILE_WIDTH) });
    const expected = above[n % TILE_WIDTH];
    const bytes = await remote.readTile({ level, n, width: TILE_WIDTH });
    const hashes = splitHashes(bytes);
    if (expected && merkleRoot(hashes).equals(expected)) return hashes;
    throw new Alarm('rewritten', `tile ${level}/${n} is not what the root of ${tree.treeSize} leaves says`, {
      tile: bytes.toString('base64'),
      expectedHash: expected?.toString('hex') ?? '',
    });
  }

  return readTile;
}

function nameOf({ level, n }: Place): string {
  return `${level}/${n}`;
}

function toLevels(tiles: readonly { level: number; hashes: Hash[] }[]): Hash[][] {
  const levels: Hash[][] = [];
  for (const { level, hashes } of tiles) levels[level] = hashes;
  return Array.from(levels, (hashes) => hashes ?? []);
}
