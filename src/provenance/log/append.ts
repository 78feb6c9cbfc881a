import { Problem } from '../../core/problem.ts';
import type { Tx } from '../../db/index.ts';
import { leafHashOf } from '../merkle/merkle.ts';
import { readFrontier } from './frontier.ts';
import { findDedupKeys, insertLogEntries, lockLogState, setLogState } from './store.ts';
import { grow, rootOf } from './tiles/grow.ts';
import { widenTiles } from './tiles/store.ts';
import type { EntryToAppend } from './transparency-log.ts';

/**
 * Appends entries to a log in the caller's transaction and answers their leaf indexes. The log's row stays locked
 * until the transaction ends, so indexes follow the order of commits and have no gap: append last. Costs the
 * entries and, once per call, the tiles at the right edge: O(log n). Throws `Problem('conflict')`, with nothing
 * written, when the log holds something with one of the dedup keys.
 */
export async function appendEntries(
  tx: Tx,
  log: number,
  entries: readonly EntryToAppend[],
): Promise<number[]> {
  if (entries.length === 0) return [];
  requireUnique(entries);
  const frontier = await readFrontier(tx, log, await lockLogState(tx, log));
  const fromIndex = frontier.treeSize;
  const rows = entries.map(({ entry, dedupKey }) => ({ entry, dedupKey, leafHash: leafHashOf(entry) }));
  if (!(await insertLogEntries(tx, log, { fromIndex, entries: rows }))) {
    throw conflictOf(
      await findDedupKeys(
        tx,
        rows.map(({ dedupKey }) => dedupKey),
      ),
    );
  }
  const grown = grow(
    frontier,
    rows.map(({ leafHash }) => leafHash),
  );
  const { treeSize } = grown.frontier;
  await Promise.all([
    widenTiles(tx, log, grown.growth),
    setLogState(tx, log, { treeSize, root: rootOf(grown.frontier) }),
  ]);
  return entries.map((_, at) => fromIndex + at);
}

function requireUnique(entries: readonly EntryToAppend[]): void {
  const keys = new Set<string>();
  for (const { dedupKey } of entries) {
    if (keys.has(dedupKey)) throw conflictOf([dedupKey]);
    keys.add(dedupKey);
  }
}

function conflictOf(keys: readonly string[]): Problem {
  const [key = ''] = keys;
  return new Problem('conflict', { detail: `The log holds "${key}" already, and it is never said twice.` });
}
