import { Problem } from '../../core/problem.ts';
import { type Sql, withTransaction } from '../../db/index.ts';
import {
  consistencyProof,
  EMPTY_ROOT,
  HASH_BYTES,
  inclusionProof,
  type NodeReader,
  rangeHash,
} from '../merkle/merkle.ts';
import { LogDivergedError } from './divergence.ts';
import { readFrontier } from './frontier.ts';
import { findLogState, findSignedSize, lockLogState, readLogEntries } from './store.ts';
import { encodeEntryTile } from './tiles/entry-tile.ts';
import { rootOf } from './tiles/grow.ts';
import { keyOf, MissingTileError, withTiles } from './tiles/nodes.ts';
import { findTiles } from './tiles/store.ts';
import { type EdgePlace, isTile, TILE_WIDTH, treeSizeBehind } from './tiles/tile.ts';
import type { TransparencyLog } from './transparency-log.ts';

const ENTRIES_MAX = 1_000;

/** All that is read of a log without locking it. */
export type LogReader = Pick<
  TransparencyLog,
  'readHead' | 'rootAt' | 'proveInclusion' | 'proveConsistency' | 'readEntries' | 'readTile' | 'readEntryTile'
>;

/** Reads the log with this id (`LOG_IDS`). Throws `LogDivergedError` when tiles are missing that it must have. */
export function createLogReader(sql: Sql, log: number): LogReader {
  const isSigned = createSignedCheck(sql, log);

  async function compute<Result>(treeSize: number, prove: (read: NodeReader) => Result): Promise<Result> {
    if (!Number.isSafeInteger(treeSize) || treeSize < 0) throw notFound(`no tree has ${treeSize} leaves`);
    const read = () => withTiles((places) => findTiles(sql, log, places), prove);
    try {
      return await read().catch(async (error: unknown) => {
        if (!(error instanceof MissingTileError)) throw error;
        const state = await findLogState(sql, log);
        if (!state?.root || treeSize > Number(state.treeSize)) {
          throw notFound(`the log has no ${treeSize} leaves`);
        }
        // It may have grown to that size since the tiles were read, and now it has them.
        return await read();
      });
    } catch (error) {
      if (error instanceof RangeError) throw notFound(error.message);
      if (error instanceof MissingTileError) throw new LogDivergedError(error.message);
      throw error;
    }
  }

  return {
    async readHead() {
      const state = await findLogState(sql, log);
      if (!state || state.treeSize === 0n) return { treeSize: 0, root: EMPTY_ROOT };
      if (state.root) return { treeSize: Number(state.treeSize), root: state.root };
      return makeTiles(sql, log);
    },
    rootAt: (treeSize) => compute(treeSize, (read) => rangeHash(read, 0, treeSize)),
    proveInclusion: ({ leafIndex, treeSize }) =>
      compute(treeSize, (read) => inclusionProof(read, leafIndex, treeSize)),
    proveConsistency: ({ fromSize, toSize }) =>
      compute(toSize, (read) => consistencyProof(read, fromSize, toSize)),
    async readEntries({ fromIndex, entriesMax }) {
      const rowsMax = Math.min(entriesMax, ENTRIES_MAX);
      const rows = await readLogEntries(sql, log, { fromIndex: BigInt(fromIndex), rowsMax });
      return rows.map(({ leafIndex, entry }) => ({ leafIndex: Number(leafIndex), entry }));
    },
    async readTile(tile) {
      if (!(await isSigned(tile))) return undefined;
      const data = (await findTiles(sql, log, [tile])).get(keyOf(tile));
      const bytes = tile.width * HASH_BYTES;
      return data && data.length >= bytes ? data.subarray(0, bytes) : undefined;
    },
    async readEntryTile({ n, width }) {
      if (!(await isSigned({ level: 0, n, width }))) return undefined;
      const rows = await readLogEntries(sql, log, { fromIndex: BigInt(n * TILE_WIDTH), rowsMax: width });
      return rows.length === width ? encodeEntryTile(rows.map(({ entry }) => entry)) : undefined;
    },
  };
}

/** Whether a checkpoint covers a tile; what was signed once is signed for good. */
function createSignedCheck(sql: Sql, log: number): (tile: EdgePlace) => Promise<boolean> {
  let signedSize = 0;
  return async (tile) => {
    if (!isTile(tile)) return false;
    const treeSize = treeSizeBehind(tile);
    if (signedSize < treeSize) signedSize = await findSignedSize(sql, log);
    return treeSize <= signedSize;
  };
}

/** The head of a log from before there were tiles, which it has from here on. */
function makeTiles(sql: Sql, log: number) {
  return withTransaction(sql, async (tx) => {
    const frontier = await readFrontier(tx, log, await lockLogState(tx, log));
    return { treeSize: frontier.treeSize, root: rootOf(frontier) };
  });
}

function notFound(reason: string): Problem {
  return new Problem('not-found', { detail: `This cannot be told: ${reason}.` });
}
