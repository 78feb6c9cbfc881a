import type { Uuid } from '../../core/ids.ts';
import { type Millicents, millicents } from '../../core/money.ts';
import type { Queryable, Tx } from '../../db/index.ts';
import {
  type ExposureState,
  insertExposure,
  lockExposurePayer,
  type NewExposure,
  sumExposure,
  sumLosses,
  updateExposure,
} from './store.ts';

/** How much work may be done for a payer before its money has arrived (MONEY.md, rule 5). */
export type RiskLimits = {
  /** For a payer that has settled nothing yet. */
  newPayerMax: Millicents;
  /** The most for any payer. */
  payerMax: Millicents;
  /** Part of what a payer settled in 30 days that it may owe, basis points. */
  payerShareBps: bigint;
  inFlightMax: bigint;
  /** Runs that were never paid for, an hour. */
  publisherLossMax: Millicents;
  totalLossMax: Millicents;
};

export const DEFAULT_RISK_LIMITS: RiskLimits = {
  newPayerMax: millicents(10_000),
  payerMax: millicents(500_000),
  payerShareBps: 1_000n,
  inFlightMax: 16n,
  publisherLossMax: millicents(100_000),
  totalLossMax: millicents(1_000_000),
};

export type RiskInput = {
  payer: string;
  payeeId: Uuid;
  unit: string;
  units: bigint;
  amount: Millicents;
  /** What the payer owns now, in native units; undefined when the rail has the money already. */
  fundsAvailable: bigint | undefined;
};

export type RiskVerdict =
  | { kind: 'after-run' }
  /** Beyond a limit: the money has to arrive first. */
  | { kind: 'settle-first' }
  /** The payer cannot pay this and what it already owes. */
  | { kind: 'insufficient-funds' };

/**
 * Decides whether a call may run before its money arrives. Takes the payer's row lock, which lasts until the
 * transaction ends: insert the exposure in the same transaction.
 */
export async function assessRisk(tx: Tx, input: RiskInput, limits: RiskLimits): Promise<RiskVerdict> {
  if (input.fundsAvailable === undefined) return { kind: 'after-run' };
  await lockExposurePayer(tx, input.payer, input.unit);
  const { openUnits, openAmount, openCount, posted, losses } = await sumExposure(tx, input.payer, input.unit);
  if (openUnits + input.units > input.fundsAvailable) return { kind: 'insufficient-funds' };
  // Who let a run go unpaid within the month pays first from then on.
  if (losses > 0n) return { kind: 'settle-first' };
  const share = (posted * limits.payerShareBps) / 10_000n;
  const earned = share < limits.payerMax ? share : limits.payerMax;
  const cap = earned > limits.newPayerMax ? earned : limits.newPayerMax;
  if (openAmount + input.amount > cap || openCount >= limits.inFlightMax) return { kind: 'settle-first' };
  const lost = await sumLosses(tx, input.payeeId);
  const isOverBudget = lost.ofPayee >= limits.publisherLossMax || lost.ofAll >= limits.totalLossMax;
  return { kind: isOverBudget ? 'settle-first' : 'after-run' };
}

export function openExposure(tx: Tx, exposure: NewExposure): Promise<void> {
  return insertExposure(tx, exposure);
}

/** Moves an exposure on; `isLoss` says that work was done and the money never came. */
export function moveExposure(
  tx: Queryable,
  id: Uuid,
  to: { state: ExposureState; isLoss?: boolean },
): Promise<void> {
  return updateExposure(tx, id, to.state, to.isLoss ?? false);
}
