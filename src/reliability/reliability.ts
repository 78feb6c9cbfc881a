import { addMs, type Clock } from '../core/clock.ts';
import type { Uuid } from '../core/ids.ts';
import type { Sql } from '../db/index.ts';
import {
  countFailuresOfPayer,
  deleteOldFailures,
  type FailureRow,
  insertFailure,
  listNewestFailures,
  type NewFailure,
} from './store.ts';

/** MONEY.md, rule 6. */
const FREE_FAILURES_AN_HOUR_MAX = 20n;
const RECENT_CALLS = 50;
const RECENT_FAILURES_MAX = 10;
/** One caller with bad input must not be able to pause somebody's tool. */
const FAILING_PAYERS_MIN = 3;
const BLOCK_MS = 10 * 60 * 1000;
const BLOCKS_MAX = 10_000;
const PRUNE_ROWS_MAX = 1_000;

/** Keeps free failures from becoming a loophole, and a broken tool from wasting everybody's time. */
export type Reliability = {
  /** Seconds until this payer may call the tool again; undefined when it may now. In memory, so free. */
  blockedForSeconds(payer: string, toolId: Uuid): number | undefined;
  /** Notes a failure. `shouldPause` says the tool now fails too often to be sold. */
  noteFailure(failure: NewFailure, input: { repairedAt: Date }): Promise<{ shouldPause: boolean }>;
  prune(): Promise<number>;
};

export function createReliability(deps: { sql: Sql; clock: Clock }): Reliability {
  const { sql, clock } = deps;
  const blockedUntil = new Map<string, Date>();
  return {
    blockedForSeconds(payer, toolId) {
      const until = blockedUntil.get(`${payer} ${toolId}`);
      const leftMs = until ? until.getTime() - clock.now().getTime() : 0;
      return leftMs > 0 ? Math.ceil(leftMs / 1000) : undefined;
    },
    async noteFailure(failure, { repairedAt }) {
      await insertFailure(sql, failure);
      if ((await countFailuresOfPayer(sql, failure.payer, failure.toolId)) >= FREE_FAILURES_AN_HOUR_MAX) {
        if (blockedUntil.size >= BLOCKS_MAX) blockedUntil.clear();
        blockedUntil.set(`${failure.payer} ${failure.toolId}`, addMs(clock.now(), BLOCK_MS));
      }
      const rowsMax = RECENT_FAILURES_MAX + 1;
      const failures = await listNewestFailures(sql, { toolId: failure.toolId, since: repairedAt, rowsMax });
      return { shouldPause: isFailingTooOften(failures, failure.soldBefore) };
    },
    prune: () => deleteOldFailures(sql, PRUNE_ROWS_MAX),
  };
}

/** Whether more than a fifth of a tool's last 50 calls failed; `failures` come newest first. */
export function isFailingTooOften(failures: readonly FailureRow[], soldNow: bigint): boolean {
  const oldest = failures[RECENT_FAILURES_MAX];
  if (!oldest) return false;
  if (new Set(failures.map(({ payer }) => payer)).size < FAILING_PAYERS_MIN) return false;
  const delivered = soldNow - oldest.soldBefore;
  return BigInt(failures.length) + delivered <= BigInt(RECENT_CALLS);
}
