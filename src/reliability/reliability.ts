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
/** Runs that asked their caller for input instead of delivering; each delivered call allows as many again. */
const QUESTIONS_MAX = 100;
const BLOCK_MS = 10 * 60 * 1000;
const BLOCKS_MAX = 10_000;
const PRUNE_ROWS_MAX = 1_000;

/** Keeps free failures from becoming a loophole, and a broken tool from wasting everybody's time. */
export type Reliability = {
  /** Seconds until this payer may call the tool again; undefined when it may now. In memory, so free. */
  blockedForSeconds(payer: string, toolId: Uuid): number | undefined;
  /** Notes a failure. `shouldPause` says the tool now fails too often to be sold. */
  noteFailure(failure: NewFailure, input: { repairedAt: Date }): Promise<{ shouldPause: boolean }>;
  /**
   * Notes a run that asked for input, which is no failure but costs nothing either: without a bound it would be a
   * sandbox for nothing. Counted in memory, for as long as none delivers.
   */
  noteQuestion(payer: string, toolId: Uuid): void;
  noteDelivered(payer: string, toolId: Uuid): void;
  prune(): Promise<number>;
};

export function createReliability(deps: { sql: Sql; clock: Clock }): Reliability {
  const { sql, clock } = deps;
  const blockedUntil = new Map<string, Date>();
  const questions = new Map<string, number>();
  const block = (place: string) => {
    if (blockedUntil.size >= BLOCKS_MAX) blockedUntil.clear();
    blockedUntil.set(place, addMs(clock.now(), BLOCK_MS));
  };
  return {
    blockedForSeconds(payer, toolId) {
      if (blockedUntil.size === 0) return undefined;
      const until = blockedUntil.get(`${payer} ${toolId}`);
      const leftMs = until ? until.getTime() - clock.now().getTime() : 0;
      return leftMs > 0 ? Math.ceil(leftMs / 1000) : undefined;
    },
    async noteFailure(failure, { repairedAt }) {
      await insertFailure(sql, failure);
      if ((await countFailuresOfPayer(sql, failure.payer, failure.toolId)) >= FREE_FAILURES_AN_HOUR_MAX) {
        block(`${failure.payer} ${failure.toolId}`);
      }
      const rowsMax = RECENT_FAILURES_MAX + 1;
      const failures = await listNewestFailures(sql, { toolId: failure.toolId, since: repairedAt, rowsMax });
      return { shouldPause: isFailingTooOften(failures, failure.soldBefore) };
    },
    noteQuestion(payer, toolId) {
      const place = `${payer} ${toolId}`;
      const count = (questions.get(place) ?? 0) + 1;
      if (questions.size >= BLOCKS_MAX) questions.clear();
      if (count < QUESTIONS_MAX) return void questions.set(place, count);
      questions.delete(place);
      block(place);
    },
    noteDelivered(payer, toolId) {
      if (questions.size > 0) questions.delete(`${payer} ${toolId}`);
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
