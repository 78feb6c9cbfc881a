import { invariant } from '../../core/invariant.ts';
import { Problem } from '../../core/problem.ts';
import type { Tx } from '../../db/index.ts';
import { HASH_BYTES, splitHashes } from '../merkle/merkle.ts';
import { readFrontier } from './frontier.ts';
import { findDedupKeys, insertLogEntries, lockLogState, type SpelledEntries, setLogState } from './store.ts';
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
  const spelled = spell(entries);
  const { firstIndex, count } = await appendWritten(tx, log, async (fromIndex) => {
    const leafHashes = await insertLogEntries(tx, log, { fromIndex, spelled });
    if (!leafHashes) throw conflictOf(await findDedupKeys(tx, spelled.dedupKeys));
    return leafHashes;
  });
  invariant(count === entries.length, 'the log has a hash of each entry');
  return entries.map((_, at) => firstIndex + at);
}

/**
 * The same of what `write` puts into the log from this index on, with a statement of `entriesInsert`; it answers the
 * leaf hashes one after another.
 */
export async function appendWritten(
  tx: Tx,
  log: number,
  write: (fromIndex: number) => Promise<Buffer>,
): Promise<{ firstIndex: number; count: number }> {
  const frontier = await readFrontier(tx, log, await lockLogState(tx, log));
  const firstIndex = frontier.treeSize;
  const leafHashes = await write(firstIndex);
  const count = leafHashes.length / HASH_BYTES;
  if (count === 0) return { firstIndex, count };
  const grown = grow(frontier, splitHashes(leafHashes));
  const { treeSize } = grown.frontier;
  await Promise.all([
    widenTiles(tx, log, grown.growth),
    setLogState(tx, log, { treeSize, root: rootOf(grown.frontier) }),
  ]);
  return { firstIndex, count };
}

/** In one piece: the driver spells an array element by element, which costs more than all the rest. */
function spell(entries: readonly EntryToAppend[]): SpelledEntries {
  return {
    entries: `{${entries.map(({ entry }) => entry.toString('hex')).join(',')}}`,
    dedupKeys: `{${entries.map(({ dedupKey }) => `"${dedupKey.replace(/["\\]/g, '\\$&')}"`).join(',')}}`,
  };
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
