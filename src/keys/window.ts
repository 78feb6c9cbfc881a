import { invariant } from '../core/invariant.ts';
import type { Queryable } from '../db/index.ts';
import {
  deleteOldWindows,
  deletePastWindows,
  secondsToNextWindow,
  takeOne,
  type WindowInput,
} from './store.ts';

export type WindowTake = { kind: 'taken' } | { kind: 'exhausted'; retryAfterSeconds: number };

const PRUNED_ROWS_MAX = 10_000;

/**
 * Takes one of `max` per fixed window; windows of different names do not know each other, and all gateways
 * on one database share them. Inside a transaction the take is undone with it.
 */
export async function takeFromWindow(sql: Queryable, input: WindowInput): Promise<WindowTake> {
  invariant(input.windowMs >= 1 && Number.isInteger(input.windowMs), `not a window: ${input.windowMs} ms`);
  const count = input.max < 1 ? undefined : await takeOne(sql, input);
  if (count === undefined) {
    return { kind: 'exhausted', retryAfterSeconds: await secondsToNextWindow(sql, input.windowMs) };
  }
  // Exactly one taker opens a window, so the past is swept once and nobody waits for anybody.
  if (count === 1) await deletePastWindows(sql, input);
  return { kind: 'taken' };
}

/** Drops windows nobody came back to; answers how many. For a job. */
export function pruneWindows(sql: Queryable, input: { olderThanMs: number }): Promise<number> {
  return deleteOldWindows(sql, { olderThanMs: input.olderThanMs, rowsMax: PRUNED_ROWS_MAX });
}
