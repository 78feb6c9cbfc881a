import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../db/index.ts';
import type { GatewayDeps } from '../gateway/index.ts';
import { pruneWindows } from '../keys/index.ts';
import { deleteClosedExposures, deleteGivenBackHolds } from '../ledger/index.ts';
import { deleteUnpaidClaims, pruneWebhookEvents, shrinkDeliveredClaims } from '../payments/index.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const SLICE_ROWS_MAX = 1_000;
/** With the pause it bounds what one round may take from the calls: a million rows in a minute or so. */
const SLICES_MAX = 1_000;
const PAUSE_MS = 20;

/** How long what is no part of the books is kept (OPERATIONS.md, "What grows"). */
export const RETENTION_MS = {
  webhookEvents: 7 * DAY_MS,
  rateWindows: DAY_MS,
  /** Of a delivered call's claim: what settled it. The claim itself stays. */
  settledForms: 7 * DAY_MS,
  unpaidClaims: 30 * DAY_MS,
  /** Twice the month that a payer's limits look back. */
  closedExposures: 60 * DAY_MS,
  givenBackHolds: 90 * DAY_MS,
};

/** Drops what is over, within the minute it is over. */
export async function pruneShortLived(
  deps: Pick<GatewayDeps, 'sql' | 'answers' | 'pending' | 'reliability'>,
  signal: AbortSignal,
): Promise<void> {
  const { sql } = deps;
  await inSlices(() => deps.answers.prune(), signal);
  await inSlices(() => deps.pending.prune(), signal);
  await inSlices(() => deps.reliability.prune(), signal);
  await inSlices(() => pruneWebhookEvents(sql, sliceOf(RETENTION_MS.webhookEvents)), signal);
  await inSlices(() => pruneWindows(sql, { olderThanMs: RETENTION_MS.rateWindows }), signal);
}

/** Drops what calls left behind that neither the books nor a repeated payment need. Changes no balance. */
export async function pruneHistory(deps: { sql: Sql }, signal: AbortSignal): Promise<void> {
  const { sql } = deps;
  await inSlices(() => shrinkDeliveredClaims(sql, sliceOf(RETENTION_MS.settledForms)), signal);
  await inSlices(() => deleteClosedExposures(sql, sliceOf(RETENTION_MS.closedExposures)), signal);
  await inSlices(() => deleteUnpaidClaims(sql, sliceOf(RETENTION_MS.unpaidClaims)), signal);
  await inSlices(() => deleteGivenBackHolds(sql, sliceOf(RETENTION_MS.givenBackHolds)), signal);
}

const sliceOf = (olderThanMs: number) => ({ olderThanMs, rowsMax: SLICE_ROWS_MAX });

/**
 * Prunes slice after slice, each a transaction of its own and a pause after it, until one finds nothing. Several
 * gateways at it at once pass over the rows that another has locked.
 */
export async function inSlices(prune: () => Promise<number>, signal: AbortSignal): Promise<number> {
  let pruned = 0;
  for (let slice = 0; slice < SLICES_MAX && !signal.aborted; slice += 1) {
    const count = await prune();
    pruned += count;
    if (count === 0) break;
    await sleep(PAUSE_MS, undefined, { signal }).catch(() => {});
  }
  return pruned;
}
