import { hash as hashAtOnce } from 'node:crypto';
import type { Sql } from '../../db/index.ts';
import { HASH_BYTES, type Hash, merkleRootOf, splitHashes } from '../merkle/merkle.ts';
import { saysSo } from './kept-checkpoint.ts';
import { decodeLeaf, dedupKeyOf } from './leaf.ts';
import {
  findCheckpointsAfter,
  findLogState,
  findRepeatedKeys,
  type PackedEntries,
  readEntriesAndKeys,
  readPackedEntries,
} from './store.ts';
import { keyOf } from './tiles/nodes.ts';
import { findTiles } from './tiles/store.ts';
import { TILE_WIDTH, type TilePlace } from './tiles/tile.ts';
import { LOG_IDS, type TransparencyLog } from './transparency-log.ts';
import { parseVkey } from './vkey.ts';

/** Walks a log over and over, because what signing recomputes is the tree's edge and not all that is in it. */
export type LogMonitor = {
  /** The next entries, and the next checkpoints; what differs is reported to the log. Answers what was looked at. */
  run(): Promise<{ fromIndex: number; toIndex: number }>;
};

export type LogMonitorDeps = { sql: Sql; log: TransparencyLog; entriesPerRun?: number };

/** Stays until the process is started anew, as what signing finds: rewriting it back is no answer. */
const MONITOR = 'monitor';
const ENTRIES_PER_RUN = 4_096;
const TILES_AT_ONCE = 4;
const TILE_BYTES = TILE_WIDTH * HASH_BYTES;
const INDEX_BYTES = 8;
const LENGTH_BYTES = 4;
/** A log that grows all the time gets ten of them between two runs. */
const CHECKPOINTS_PER_RUN = 32;

/** Holds entries against tiles, tiles against those above them, and checkpoints against both. */
export function createLogMonitor(deps: LogMonitorDeps): LogMonitor {
  const { sql, log } = deps;
  const id = LOG_IDS[log.name];
  const entriesPerRun = Math.ceil((deps.entriesPerRun ?? ENTRIES_PER_RUN) / TILE_WIDTH) * TILE_WIDTH;
  let position = 0;
  let signedSize = 0;
  const keys = log.vkeys.map(parseVkey);

  async function checkNextCheckpoints(): Promise<string | undefined> {
    const page = { treeSize: signedSize, rowsMax: CHECKPOINTS_PER_RUN };
    const checkpoints = await findCheckpointsAfter(sql, id, page);
    // After the newest the oldest is next.
    if (checkpoints.length < CHECKPOINTS_PER_RUN) signedSize = 0;
    for (const checkpoint of checkpoints) {
      const treeSize = Number(checkpoint.treeSize);
      const root = await log.rootAt(treeSize);
      if (!root.equals(checkpoint.root) || !saysSo(checkpoint.note, { treeSize, root, keys })) {
        return `the checkpoint of ${treeSize} leaves is not what the log was then`;
      }
      if (checkpoints.length === CHECKPOINTS_PER_RUN) signedSize = treeSize;
    }
    return undefined;
  }

  return {
    async run() {
      const state = await findLogState(sql, id);
      const treeSize = Number(state?.root ? state.treeSize : 0);
      // A tile that was not whole is looked at anew with what followed.
      position = position >= treeSize ? 0 : position - (position % TILE_WIDTH);
      const fromIndex = position;
      const toIndex = Math.min(fromIndex + entriesPerRun, treeSize);
      while (position < toIndex) {
        // From one tile to the next, so that a tile that is full is seen whole.
        const page = { from: position, to: Math.min(position + TILES_AT_ONCE * TILE_WIDTH, toIndex) };
        const detail = await checkEntries(sql, log, page);
        if (detail !== undefined) {
          log.reportDivergence({ source: MONITOR, detail });
          return { fromIndex, toIndex: position };
        }
        position = page.to;
      }
      const detail = await checkNextCheckpoints();
      if (detail !== undefined) log.reportDivergence({ source: MONITOR, detail });
      return { fromIndex, toIndex };
    },
  };
}

/** What is wrong with these entries, if anything; `from` is where a tile begins. */
async function checkEntries(
  sql: Sql,
  log: TransparencyLog,
  page: { from: number; to: number },
): Promise<string | undefined> {
  const id = LOG_IDS[log.name];
  const { from, to } = page;
  const entries = await readPackedEntries(sql, id, page);
  if (!entries) return `entry ${from} is missing`;
  for (let at = 0; at < to - from; at++) {
    const isThere =
      at < entries.count && entries.indexes.readBigInt64BE(at * INDEX_BYTES) === BigInt(from + at);
    if (!isThere) return `entry ${from + at} is missing`;
  }
  const rewritten = findRewritten(entries);
  if (rewritten !== undefined)
    return `entry ${from + rewritten} was rewritten: its hash is not the one kept with it`;
  const misplaced = log.name === 'versions' ? await findMisplaced(sql, id, page) : undefined;
  if (misplaced !== undefined) return misplaced;
  const [repeated] = await findRepeatedKeys(sql, id, page);
  if (repeated !== undefined) return `two entries say "${repeated}"`;
  return checkTiles(sql, id, from, entries.leafHashes);
}

/** The first of these entries that does not have the hash that is kept with it. */
function findRewritten({ count, leaves, lengths, leafHashes }: PackedEntries): number | undefined {
  const hashes = Buffer.alloc(count * HASH_BYTES);
  let from = 0;
  for (let at = 0; at < count; at++) {
    const end = from + 1 + lengths.readInt32BE(at * LENGTH_BYTES);
    hashes.write(hashAtOnce('sha256', leaves.subarray(from, end), 'binary'), at * HASH_BYTES, 'latin1');
    from = end;
  }
  if (hashes.equals(leafHashes)) return undefined;
  const kept = splitHashes(leafHashes);
  return splitHashes(hashes).findIndex((hash, at) => !kept[at]?.equals(hash));
}

/** What is wrong with the leaves of the version log that these entries are, and with their keys. */
async function findMisplaced(
  sql: Sql,
  log: number,
  { from, to }: { from: number; to: number },
): Promise<string | undefined> {
  for (const row of await readEntriesAndKeys(sql, log, { fromIndex: from, rowsMax: to - from })) {
    const leaf = decodeLeaf(row.entry);
    if (!leaf) return `entry ${row.leafIndex} is no leaf`;
    // Under another key a second publication of a version would pass for something else.
    if (dedupKeyOf(leaf) !== row.dedupKey)
      return `entry ${row.leafIndex} is kept as "${row.dedupKey}", which it is not`;
  }
  return undefined;
}

/** Holds leaf hashes against their tiles, and every tile that is full against its place in the one above. */
async function checkTiles(
  sql: Sql,
  log: number,
  from: number,
  leafHashes: Buffer,
): Promise<string | undefined> {
  const places: TilePlace[] = [];
  for (let n = from / TILE_WIDTH; (n * TILE_WIDTH - from) * HASH_BYTES < leafHashes.length; n++) {
    places.push({ level: 0, n });
  }
  const parents = new Map(places.map(parentOf).map((place) => [keyOf(place), place]));
  const tiles = await findTiles(sql, log, [...places, ...parents.values()]);
  for (const [at, place] of places.entries()) {
    const expected = leafHashes.subarray(at * TILE_BYTES, (at + 1) * TILE_BYTES);
    const data = tiles.get(keyOf(place));
    if (!data?.subarray(0, expected.length).equals(expected)) return `tile ${keyOf(place)} was rewritten`;
    const isFull = expected.length === TILE_BYTES;
    const detail = isFull ? await checkParent({ sql, log, tiles }, place, merkleRootOf(expected)) : undefined;
    if (detail !== undefined) return detail;
  }
  return undefined;
}

/** A full tile's root stands in the tile above, and where that one ends with it, the next above is held too. */
async function checkParent(
  deps: { sql: Sql; log: number; tiles: ReadonlyMap<string, Buffer> },
  tile: TilePlace,
  root: Hash,
): Promise<string | undefined> {
  const parent = parentOf(tile);
  const key = keyOf(parent);
  const data = deps.tiles.get(key) ?? (await findTiles(deps.sql, deps.log, [parent])).get(key);
  const at = tile.n % TILE_WIDTH;
  const kept = data?.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES);
  if (!kept?.equals(root)) return `tile ${key} does not hold the root of tile ${keyOf(tile)}`;
  if (!data || at + 1 < TILE_WIDTH) return undefined;
  return checkParent(deps, parent, merkleRootOf(data));
}

function parentOf(tile: TilePlace): TilePlace {
  return { level: tile.level + 1, n: Math.floor(tile.n / TILE_WIDTH) };
}
