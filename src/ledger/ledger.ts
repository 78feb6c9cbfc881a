import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import type { Millicents } from '../core/money.ts';
import { type Queryable, type Sql, type Tx, withTransaction } from '../db/index.ts';
import {
  type Account,
  clearingAccount,
  named,
  payerAccount,
  publisherAccount,
  railAssetAccount,
  unappliedAccount,
} from './account.ts';
import { type Caps, type CapUse, closeInCaps, findCapRefusal, takeFromCaps } from './cap/cap.ts';
import { insertCap, listCaps } from './cap/store.ts';
import type { HoldRequest, HoldResult } from './charge/charger.ts';
import { type OpenExposure, sumOpenExposures } from './exposure/store.ts';
import { type Asset, type Float, insertFloat, sumAssets } from './float/store.ts';
import {
  type CallRow,
  type CallsInput,
  closeHold,
  deleteHold,
  findHold,
  findPayer,
  type HoldRow,
  insertAccounts,
  insertEntries,
  insertExternal,
  insertHold,
  insertPayer,
  listDueHolds,
  listHolds,
  lockHold,
  lockPayer,
  sumCredited,
  sumPublisher,
  updatePayer,
} from './store.ts';
import {
  captureTransfer,
  costCorrection,
  costCorrectionId,
  costId,
  costTransfer,
  fundTransfer,
  lossTransfer,
  PLATFORM_ACCOUNTS,
  promoTransfer,
} from './transfer.ts';

export type Funding = {
  rail: string;
  /** Unique on the rail: the same arrival is booked once. */
  reference: string;
  unit: string;
  units: bigint;
  amount: Millicents;
  /** What the units are worth at the quote's mid rate; absent where that is the amount. */
  worth?: Millicents | undefined;
  /** Who it belongs to; without one it waits as unapplied. */
  accountId: Uuid | undefined;
  costs: { account: string; expense: string; unit: string; units: bigint }[];
};

/** The books, one operation at a time inside the caller's transaction; the hot path is the `Charger`. */
export type Ledger = {
  /** Opens what every installation has; safe to repeat. */
  openPlatform(tx: Tx): Promise<void>;
  openPayer(tx: Tx, accountId: Uuid): Promise<void>;
  openPublisher(tx: Tx, publisherId: Uuid): Promise<void>;
  /** Sets balance aside for a call that has a claim. */
  holdBalance(tx: Tx, request: HoldRequest): Promise<HoldResult>;
  /** Notes a call whose money has not arrived; an exposure of the same id backs it. */
  holdExposure(tx: Tx, request: HoldRequest): Promise<void>;
  /** Books money that arrived. False when this arrival was booked before. */
  fund(tx: Tx, funding: Funding): Promise<boolean>;
  /** Books that a rail took back for good what `fund` had booked under this reference. False when it was before. */
  loseFunds(
    tx: Tx,
    input: { rail: string; reference: string; unit: string; units: bigint; worth: bigint },
  ): Promise<boolean>;
  /** Notes the operator's own money on a rail, under a name that is used once an account. */
  noteFloat(tx: Tx, float: Float): Promise<boolean>;
  /** What the rails should hold, by the asset accounts of the chart. */
  assets(): Promise<Asset[]>;
  /** What is promised on the rails and not booked. */
  openExposures(): Promise<OpenExposure[]>;
  /** Books what a rail cost us without bringing anything, for example a reverted transaction's gas. */
  spend(tx: Tx, input: { reference: string; costs: Funding['costs'] }): Promise<void>;
  /**
   * Brings the costs that were booked under this reference to what they came to in the end: a block that is
   * replaced takes the price of its gas with it. Safe to repeat.
   */
  correctCosts(tx: Tx, input: { reference: string; costs: Funding['costs'] }): Promise<void>;
  /** Gives balance away, from the operator's promotion. */
  promote(tx: Tx, input: { id: Uuid; accountId: Uuid; amount: Millicents }): Promise<void>;
  /** Takes a held call's money and splits it. False when the hold is no longer open. */
  capture(tx: Tx, id: Uuid, availableAfterMs: number): Promise<boolean>;
  /** Gives a held call's money back. False when the hold is no longer open. */
  release(tx: Tx, id: Uuid): Promise<boolean>;
  /** Takes back a hold for a call that never began, as if it had not been there. */
  withdraw(tx: Tx, id: Uuid): Promise<void>;
  /** Releases balance holds past their time and answers how many. */
  expireDue(): Promise<number>;
  balance(accountId: Uuid): Promise<{ balance: bigint; held: bigint } | undefined>;
  earnings(publisherId: Uuid): Promise<{ earned: bigint; available: bigint }>;
  hold(queryable: Queryable, id: Uuid): Promise<HoldRow | undefined>;
  /** A payer's calls, or those of some of its keys, newest first, one page. */
  calls(input: CallsInput): Promise<CallRow[]>;
  /** Limits a spender from now on; for good, as statements under way know which caps there are. */
  openCap(tx: Tx, spender: { id: Uuid; accountId: Uuid }, caps: Caps): Promise<void>;
  /** Caps with what is used of them now. */
  caps(ids: readonly Uuid[]): Promise<CapUse[]>;
};

const DUE_ROWS_MAX = 500;

export function createLedger(deps: { sql: Sql }): Ledger {
  const { sql } = deps;
  return {
    openPlatform: (tx) => insertAccounts(tx, PLATFORM_ACCOUNTS),
    async openPayer(tx, accountId) {
      await insertAccounts(tx, [payerAccount(accountId)]);
      await insertPayer(tx, accountId);
    },
    openPublisher: (tx, publisherId) => insertAccounts(tx, [publisherAccount(publisherId)]),
    holdBalance,
    async holdExposure(tx, request) {
      await insertHold(tx, toHoldRow(request, 'exposure'));
    },
    fund,
    loseFunds,
    noteFloat: insertFloat,
    assets: () => sumAssets(sql),
    openExposures: () => sumOpenExposures(sql),
    async spend(tx, { reference, costs }) {
      for (const cost of costs) await bookCost(tx, reference, cost);
    },
    async correctCosts(tx, { reference, costs }) {
      for (const cost of costs) await correctCost(tx, reference, cost);
    },
    async promote(tx, input) {
      const payer = await lockPayer(tx, input.accountId);
      await updatePayer(tx, input.accountId, {
        ...payer,
        balance: payer.balance + input.amount,
        promo: payer.promo + input.amount,
      });
      await insertEntries(tx, promoTransfer(input));
    },
    capture,
    release: (tx, id) => giveBack(tx, id, 'released'),
    async withdraw(tx, id) {
      if (await giveBack(tx, id, 'released')) await deleteHold(tx, id);
    },
    async expireDue() {
      const due = await listDueHolds(sql, DUE_ROWS_MAX);
      let expired = 0;
      for (const { id } of due) {
        if (await withTransaction(sql, (tx) => giveBack(tx, id, 'expired'))) expired++;
      }
      return expired;
    },
    balance: (accountId) => findPayer(sql, accountId),
    earnings: (publisherId) => sumPublisher(sql, publisherId),
    hold: findHold,
    calls: (input) => listHolds(sql, input),
    openCap: insertCap,
    caps: (ids) => (ids.length === 0 ? Promise.resolve([]) : listCaps(sql, ids)),
  };
}

async function holdBalance(tx: Tx, request: HoldRequest): Promise<HoldResult> {
  const { accountId, amount, capIds = [] } = request;
  const payer = await lockPayer(tx, accountId);
  const available = payer.balance - payer.held;
  if (available < amount) {
    // More balance would not help where a cap is in the way: that is said first.
    const refusal = await findCapRefusal(tx, { capIds, amount });
    return refusal ? { kind: 'cap-refused', refusal } : { kind: 'insufficient', available };
  }
  const take = capIds.length > 0 ? await takeFromCaps(tx, { capIds, amount }) : undefined;
  if (take?.kind === 'refused') return { kind: 'cap-refused', refusal: take.refusal };
  await insertHold(tx, toHoldRow(request, 'balance', take?.hour));
  await updatePayer(tx, accountId, { ...payer, held: payer.held + amount });
  return { kind: 'held' };
}

function toHoldRow(request: HoldRequest, backing: HoldRow['backing'], capHour?: Date) {
  const { keyId, subject, capIds = [], ...rest } = request;
  return {
    ...rest,
    capIds: capHour ? [...capIds] : null,
    capHour: capHour ?? null,
    keyId: keyId ?? null,
    subject: subject ?? null,
    backing,
    state: 'held' as const,
  };
}

async function fund(tx: Tx, funding: Funding): Promise<boolean> {
  const transfer = fundTransfer(funding);
  if (!(await insertExternal(tx, funding.rail, funding.reference, transfer.id))) return false;
  await insertAccounts(tx, [
    railAssetAccount(funding.rail, funding.unit),
    clearingAccount(funding.unit),
    ...(funding.accountId === undefined ? [unappliedAccount(funding.rail)] : []),
  ]);
  if (funding.accountId !== undefined) {
    const payer = await lockPayer(tx, funding.accountId);
    await updatePayer(tx, funding.accountId, { ...payer, balance: payer.balance + funding.amount });
  }
  await insertEntries(tx, transfer);
  for (const cost of funding.costs) await bookCost(tx, funding.reference, cost);
  return true;
}

async function loseFunds(tx: Tx, input: Parameters<Ledger['loseFunds']>[1]): Promise<boolean> {
  const transfer = lossTransfer(input);
  if (!(await insertExternal(tx, input.rail, `${input.reference}:lost`, transfer.id))) return false;
  await insertEntries(tx, transfer);
  return true;
}

async function bookCost(tx: Tx, reference: string, cost: Funding['costs'][number]): Promise<void> {
  const expense: Account = named(cost.expense, cost.unit);
  const asset: Account = named(cost.account, cost.unit);
  await insertAccounts(tx, [expense, asset]);
  await insertEntries(tx, costTransfer({ reference, expense, asset, units: cost.units }));
}

async function correctCost(tx: Tx, reference: string, cost: Funding['costs'][number]): Promise<void> {
  const expense: Account = named(cost.expense, cost.unit);
  const asset: Account = named(cost.account, cost.unit);
  const ids = [costId(asset, reference), costCorrectionId(asset, reference)];
  const units = cost.units - (await sumCredited(tx, { accountId: asset.id, transferIds: ids }));
  if (units === 0n) return;
  await insertAccounts(tx, [expense, asset]);
  await insertEntries(tx, costCorrection({ reference, expense, asset, units }));
}

async function capture(tx: Tx, id: Uuid, availableAfterMs: number): Promise<boolean> {
  const known = await lockAccountOf(tx, id);
  if (known?.hold.state !== 'held') return false;
  const { hold, payer } = known;
  const fromHeld = hold.backing === 'balance' ? hold.amount : 0n;
  invariant(payer.balance - payer.held + fromHeld >= hold.amount, `capture ${id} is not covered`);
  await updatePayer(tx, hold.accountId, {
    balance: payer.balance - hold.amount,
    held: payer.held - fromHeld,
    promo: payer.promo > hold.amount ? payer.promo - hold.amount : 0n,
  });
  await closeInCaps(tx, hold, 'captured');
  await closeHold(tx, id, 'captured');
  await insertEntries(
    tx,
    captureTransfer({
      ...hold,
      callId: hold.id,
      availableAfterMs: payer.promo > 0n ? 'infinity' : availableAfterMs,
    }),
  );
  return true;
}

async function giveBack(tx: Tx, id: Uuid, state: 'released' | 'expired'): Promise<boolean> {
  const known = await lockAccountOf(tx, id);
  if (known?.hold.state !== 'held') return false;
  const { hold, payer } = known;
  if (hold.backing === 'balance') {
    await updatePayer(tx, hold.accountId, { ...payer, held: payer.held - hold.amount });
    await closeInCaps(tx, hold, 'given-back');
  }
  await closeHold(tx, id, state);
  return true;
}

/** Locks the payer first and the hold second, the order of every statement that closes one. */
async function lockAccountOf(tx: Tx, id: Uuid) {
  const found = await findHold(tx, id);
  if (!found) return undefined;
  const payer = await lockPayer(tx, found.accountId);
  const hold = await lockHold(tx, id);
  return hold && { hold, payer };
}
