import { inTransaction, type Sql, type Tx } from '../../db/index.ts';
import { findDiscrepancies } from './check.ts';
import type { Discrepancy } from './store.ts';
import {
  addVerified,
  findMovedBalances,
  findNewCaptures,
  findNewUnits,
  findWrongHeld,
  lockMark,
  type Mark,
  postponeFull,
  rebuildVerified,
} from './store.ts';

const MINUTE_MS = 60_000;
const RETRY_FULL_MS = 60 * MINUTE_MS;

/** `elsewhere`: another gateway is at it, or was within the last minutes. */
export type RunningCheck = { kind: 'elsewhere' } | { kind: 'recent' | 'full'; discrepancies: Discrepancy[] };

export type RunningCheckOptions = {
  /** Entries are added up for good once they are so old: no transaction that could still add older ones runs. */
  settledAfterMs?: number;
  /** Whoever comes sooner after another is told `elsewhere`. */
  everyMs?: number;
  /** How often all entries are added up anew. */
  fullEveryMs?: number;
};

const DEFAULTS = { settledAfterMs: 10 * MINUTE_MS, everyMs: 5 * MINUTE_MS, fullEveryMs: 24 * 60 * MINUTE_MS };

/**
 * Proves the stored balances from what was added up before and the entries since: it costs what came since the last
 * time, however long the journal is. Its finding alone is no verdict: whatever differs is looked at in full, in a
 * snapshot of its own, and so is everything once a day, which adds the sums up anew. Many gateways may ask at once.
 */
export async function checkRunning(sql: Sql, options: RunningCheckOptions = {}): Promise<RunningCheck> {
  const bounds = { ...DEFAULTS, ...options };
  const found = await inOwnSnapshot(sql, (tx) => checkRecent(tx, bounds));
  if (found !== 'doubtful') return found ?? { kind: 'elsewhere' };
  return (await inOwnSnapshot(sql, (tx) => checkFully(tx, bounds))) ?? { kind: 'elsewhere' };
}

type Bounds = Required<RunningCheckOptions>;

async function checkRecent(tx: Tx, bounds: Bounds): Promise<RunningCheck | 'doubtful' | undefined> {
  const mark = await lockMark(tx, bounds);
  if (mark === 'locked' || mark?.isFresh) return undefined;
  if (!mark || (await findDifferences(tx, mark)).length > 0) return 'doubtful';
  await addVerified(tx, mark);
  if (!mark.isFullDue) return { kind: 'recent', discrepancies: [] };
  // One gateway looks at everything; when that breaks off, the next tries in an hour and not at once.
  await postponeFull(tx, bounds.fullEveryMs - RETRY_FULL_MS);
  return 'doubtful';
}

async function findDifferences(tx: Tx, mark: Mark): Promise<Discrepancy[]> {
  return [
    ...(await findMovedBalances(tx, mark.upTo)),
    ...(await findWrongHeld(tx)),
    ...(await findNewCaptures(tx, mark.upTo)),
    ...(await findNewUnits(tx, mark.upTo)),
  ];
}

async function checkFully(tx: Tx, bounds: Bounds): Promise<RunningCheck | undefined> {
  if ((await lockMark(tx, bounds)) === 'locked') return undefined;
  const discrepancies = await findDiscrepancies(tx);
  // Sums over entries that prove nothing are no ground to stand on: the next time looks at all of them again.
  if (discrepancies.length === 0) await rebuildVerified(tx, bounds);
  return { kind: 'full', discrepancies };
}

/** One consistent view that may also be written to; undefined when another gateway wrote there meanwhile. */
async function inOwnSnapshot<T>(sql: Sql, work: (tx: Tx) => Promise<T>): Promise<T | undefined> {
  try {
    return await inTransaction(sql, 'isolation level repeatable read', async (tx) => {
      await tx`SET LOCAL statement_timeout = '10min'`;
      return work(tx);
    });
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === '40001' || cause.code === '23505'))
      return undefined;
    throw cause;
  }
}
