import { type Uuid, uuidFrom } from '../core/ids.ts';
import type { Millicents } from '../core/money.ts';
import {
  type Account,
  clearingAccount,
  FEE_INCOME,
  FX_INCOME,
  LOSS_EXPENSE,
  MILLICENT_CLEARING,
  MILLICENT_UNIT,
  PROMO_EXPENSE,
  payerAccount,
  publisherAccount,
  railAssetAccount,
  unappliedAccount,
} from './account.ts';

/**
 * One movement: `amount` of one unit leaves the debit side's claim and joins the credit side's; what a share leaves
 * to the platform, its `fee`, leaves the debit side with it.
 */
export type Entry = {
  kind: 'fund' | 'share' | 'fee' | 'promo' | 'cost' | 'refund' | 'loss' | 'fx';
  debit: Account;
  credit: Account;
  amount: bigint;
  fee?: bigint;
  availableAfterMs?: number | 'infinity';
};

/** Entries that stand or fall together; every entry sums to zero by its shape. */
export type Transfer = { id: Uuid; entries: Entry[] };

/** FUND of MONEY.md: `units` arrived on a rail; their worth beyond what the payer gets is fx income. */
export function fundTransfer(input: {
  rail: string;
  reference: string;
  unit: string;
  units: bigint;
  amount: Millicents;
  /** What the units are worth at the quote's mid rate; the amount itself for units of a dollar token. */
  worth?: Millicents | undefined;
  /** The payer's account; without one the money is unapplied. */
  accountId: Uuid | undefined;
}): Transfer {
  const to = input.accountId === undefined ? unappliedAccount(input.rail) : payerAccount(input.accountId);
  const asset = railAssetAccount(input.rail, input.unit);
  return transfer(uuidFrom('fund', input.rail, input.reference), [
    { kind: 'fund', debit: asset, credit: clearingAccount(input.unit), amount: input.units },
    { kind: 'fund', debit: MILLICENT_CLEARING, credit: to, amount: input.amount },
    ...fxEntries((input.worth ?? input.amount) - input.amount),
  ]);
}

function fxEntries(gain: bigint): Entry[] {
  if (gain < 0n) return [{ kind: 'fx', debit: FX_INCOME, credit: MILLICENT_CLEARING, amount: -gain }];
  return [{ kind: 'fx', debit: MILLICENT_CLEARING, credit: FX_INCOME, amount: gain }];
}

/** A funding that its chain took back for good: what was given for it is the platform's loss. */
export function lossTransfer(input: {
  rail: string;
  reference: string;
  unit: string;
  units: bigint;
  worth: bigint;
}): Transfer {
  const asset = railAssetAccount(input.rail, input.unit);
  return transfer(uuidFrom('loss', input.rail, input.reference), [
    { kind: 'loss', debit: clearingAccount(input.unit), credit: asset, amount: input.units },
    { kind: 'loss', debit: LOSS_EXPENSE, credit: MILLICENT_CLEARING, amount: input.worth },
  ]);
}

/** CAPTURE of MONEY.md: the price of a delivered call, split; where all of it is the fee, that alone. */
export function captureTransfer(input: {
  callId: Uuid;
  accountId: Uuid;
  payeeId: Uuid;
  amount: bigint;
  fee: bigint;
  availableAfterMs: number | 'infinity';
}): Transfer {
  const { amount, fee, availableAfterMs } = input;
  const payer = payerAccount(input.accountId);
  if (amount === fee) {
    return transfer(input.callId, [{ kind: 'fee', debit: payer, credit: FEE_INCOME, amount: fee }]);
  }
  const payee = publisherAccount(input.payeeId);
  return transfer(input.callId, [
    { kind: 'share', debit: payer, credit: payee, amount: amount - fee, fee, availableAfterMs },
  ]);
}

/** Balance given away by the operator. */
export function promoTransfer(input: { id: Uuid; accountId: Uuid; amount: Millicents }): Transfer {
  return transfer(input.id, [
    { kind: 'promo', debit: PROMO_EXPENSE, credit: payerAccount(input.accountId), amount: input.amount },
  ]);
}

/** What moving money cost us on a rail, for example gas in wei. */
export function costTransfer(input: {
  reference: string;
  expense: Account;
  asset: Account;
  units: bigint;
}): Transfer {
  return transfer(costId(input.asset, input.reference), [
    { kind: 'cost', debit: input.expense, credit: input.asset, amount: input.units },
  ]);
}

/** What a cost came to beyond what was booked for it; less than nothing is given back. */
export function costCorrection(input: {
  reference: string;
  expense: Account;
  asset: Account;
  units: bigint;
}): Transfer {
  const { reference, expense, asset, units } = input;
  const id = costCorrectionId(asset, reference);
  if (units < 0n) return transfer(id, [{ kind: 'cost', debit: asset, credit: expense, amount: -units }]);
  return transfer(id, [{ kind: 'cost', debit: expense, credit: asset, amount: units }]);
}

export function costId(asset: Account, reference: string): Uuid {
  return uuidFrom('cost', asset.name, reference);
}

export function costCorrectionId(asset: Account, reference: string): Uuid {
  return costId(asset, `${reference}:corrected`);
}

/** A leg of nothing is no leg. */
function transfer(id: Uuid, entries: Entry[]): Transfer {
  return { id, entries: entries.filter((entry) => entry.amount > 0n) };
}

/** The accounts of the platform that every installation has. */
export const PLATFORM_ACCOUNTS: readonly Account[] = [
  FEE_INCOME,
  FX_INCOME,
  PROMO_EXPENSE,
  LOSS_EXPENSE,
  MILLICENT_CLEARING,
];
export { MILLICENT_UNIT };
