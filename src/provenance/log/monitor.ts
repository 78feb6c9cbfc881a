import type { Sql } from '../../db/index.ts';
import { HASH_BYTES, type Hash, leafHashOf, merkleRoot, splitHashes } from '../merkle/merkle.ts';
import { saysSo } from './kept-checkpoint.ts';
import { decodeLeaf, dedupKeyOf } from './leaf.ts';
import { findCheckpointsAfter, findLogState, findRepeatedKeys, readEntriesAndKeys } from './store.ts';
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

type EntryRow = Awaited<ReturnType<typeof readEntriesAndKeys>>[number];

/** Stays until the process is started anew, as what signing finds: rewriting it back is no answer. */
const MONITOR = 'monitor';
const ENTRIES_PER_RUN = 4_096;
const TILES_AT_ONCE = 4;
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
  const rows = await readEntriesAndKeys(sql, id, { fromIndex: from, rowsMax: to - from });
  const gap = rows.findIndex(({ leafIndex }, at) => leafIndex !== BigInt(from + at));
  if (gap >= 0 || rows.length !== to - from)
    return `entry ${from + (gap < 0 ? rows.length : gap)} is missing`;
  for (const row of rows) {
    const detail = checkEntry(log, row);
    if (detail !== undefined) return `entry ${row.leafIndex} ${detail}`;
  }
  const [repeated] = await findRepeatedKeys(
    sql,
    rows.map(({ dedupKey }) => dedupKey),
  );
  if (repeated !== undefined) return `two entries say "${repeated}"`;
  return checkTiles(sql, id, from, rows);
}

function checkEntry(log: TransparencyLog, row: EntryRow): string | undefined {
  if (!leafHashOf(row.entry).equals(row.leafHash))
    return 'was rewritten: its hash is not the one kept with it';
  if (log.name !== 'versions') return undefined;
  const leaf = decodeLeaf(row.entry);
  if (!leaf) return 'is no leaf';
  // Under another key a second publication of a version would pass for something else.
  return dedupKeyOf(leaf) === row.dedupKey ? undefined : `is kept as "${row.dedupKey}", which it is not`;
}

/** Holds leaf hashes against their tiles, and every tile that is full against its place in the one above. */
async function checkTiles(
  sql: Sql,
  log: number,
  from: number,
  rows: readonly EntryRow[],
): Promise<string | undefined> {
  const places: TilePlace[] = [];
  for (let at = 0; at < rows.length; at += TILE_WIDTH) places.push({ level: 0, n: (from + at) / TILE_WIDTH });
  const tiles = await findTiles(sql, log, places);
  for (const [at, place] of places.entries()) {
    const hashes = rows.slice(at * TILE_WIDTH, (at + 1) * TILE_WIDTH).map(({ leafHash }) => leafHash);
    const expected = Buffer.concat(hashes);
    const data = tiles.get(keyOf(place));
    if (!data?.subarray(0, expected.length).equals(expected)) return `tile ${keyOf(place)} was rewritten`;
    const detail =
      hashes.length === TILE_WIDTH ? await checkParent(sql, log, place, merkleRoot(hashes)) : undefined;
    if (detail !== undefined) return detail;
  }
  return undefined;
}

/** A full tile's root stands in the tile above, and where that one ends with it, the next above is held too. */
async function checkParent(sql: Sql, log: number, tile: TilePlace, root: Hash): Promise<string | undefined> {
  const parent = { level: tile.level + 1, n: Math.floor(tile.n / TILE_WIDTH) };
  const data = (await findTiles(sql, log, [parent])).get(keyOf(parent));
  const at = tile.n % TILE_WIDTH;
  const kept = data?.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES);
  if (!kept?.equals(root)) return `tile ${keyOf(parent)} does not hold the root of tile ${keyOf(tile)}`;
  if (!data || at + 1 < TILE_WIDTH) return undefined;
  return checkParent(sql, log, parent, merkleRoot(splitHashes(data)));
}
