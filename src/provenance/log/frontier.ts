import type { Tx } from '../../db/index.ts';
import { HASH_BYTES, type Hash, splitHashes } from '../merkle/merkle.ts';
import { LogDivergedError } from './divergence.ts';
import { hashLogEntries, type LogStateRow, setLogState } from './store.ts';
import { type Frontier, grow, rootOf } from './tiles/grow.ts';
import { keyOf } from './tiles/nodes.ts';
import { findTiles, widenTiles } from './tiles/store.ts';
import { rightEdge } from './tiles/tile.ts';

const EMPTY: Frontier = { treeSize: 0, levels: [] };
/** 16 tiles and what is above them at a time, however long the log is. */
const REBUILT_AT_ONCE = 4_096;

/**
 * The right edge of a log whose row is locked. Throws `LogDivergedError` when the tiles there do not give the root
 * that the row has: they were rewritten.
 */
export async function readFrontier(tx: Tx, log: number, state: LogStateRow): Promise<Frontier> {
  const treeSize = Number(state.treeSize);
  if (treeSize === 0) return EMPTY;
  if (!state.root) return rebuildTiles(tx, log, treeSize);
  const edge = rightEdge(treeSize);
  const tiles = await findTiles(tx, log, edge);
  const levels: (readonly Hash[])[] = [];
  for (const place of edge) {
    const data = tiles.get(keyOf(place));
    if (data?.length !== place.width * HASH_BYTES) {
      throw new LogDivergedError(`tile ${keyOf(place)} is not ${place.width} hashes wide`);
    }
    levels[place.level] = splitHashes(data);
  }
  const frontier = { treeSize, levels: Array.from(levels, (hashes) => hashes ?? []) };
  if (!rootOf(frontier).equals(state.root)) {
    throw new LogDivergedError(`the tiles do not give the root of the log's ${treeSize} leaves`);
  }
  return frontier;
}

/** Makes the tiles of a log from before there were tiles, out of its entries, once. */
async function rebuildTiles(tx: Tx, log: number, treeSize: number): Promise<Frontier> {
  let frontier = EMPTY;
  while (frontier.treeSize < treeSize) {
    const fromIndex = frontier.treeSize;
    const rowsMax = Math.min(REBUILT_AT_ONCE, treeSize - fromIndex);
    const rows = await hashLogEntries(tx, log, { fromIndex, rowsMax });
    const isWhole =
      rows.length === rowsMax &&
      rows.every(({ leafIndex, isItsOwn }, at) => isItsOwn && leafIndex === BigInt(fromIndex + at));
    if (!isWhole) throw new LogDivergedError(`entries after ${fromIndex} are missing or not their own hash`);
    const grown = grow(
      frontier,
      rows.map(({ leafHash }) => leafHash),
    );
    await widenTiles(tx, log, grown.growth);
    frontier = grown.frontier;
  }
  await setLogState(tx, log, { treeSize, root: rootOf(frontier) });
  return frontier;
}
