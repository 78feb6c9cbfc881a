import { type Uuid, uuidFrom } from '../core/ids.ts';

/** The unit of everything we owe and earn. */
export const MILLICENT_UNIT = 'mc';

/** An account of the chart in MONEY.md. */
export type Account = { id: Uuid; name: string; unit: string };

/** What a payer has with us; `accountId` names it everywhere. */
export function payerAccount(accountId: Uuid): Account {
  return { id: accountId, name: `L.payer:${accountId}`, unit: MILLICENT_UNIT };
}

export function isPayerAccount({ name }: Account): boolean {
  return name.startsWith('L.payer:');
}

/** What we owe a publisher: derived from the journal, never a stored balance. */
export function publisherAccount(publisherId: Uuid): Account {
  return { id: publisherId, name: `L.pub:${publisherId}`, unit: MILLICENT_UNIT };
}

/** What a rail holds for us, in its own units. */
export function railAssetAccount(rail: string, unit: string): Account {
  return named(`A.${rail}:${unit}`, unit);
}

/** The far side of what came from outside, one for each unit. */
export function clearingAccount(unit: string): Account {
  return named(`X.${unit}`, unit);
}

export const MILLICENT_CLEARING = clearingAccount(MILLICENT_UNIT);
export const FEE_INCOME = named('I.fee', MILLICENT_UNIT);
export const PROMO_EXPENSE = named('E.promo', MILLICENT_UNIT);
/** What the spread of an exchange rate earned. */
export const FX_INCOME = named('I.fx', MILLICENT_UNIT);
/** Money that was booked and taken back by its chain. */
export const LOSS_EXPENSE = named('E.loss', MILLICENT_UNIT);

/** Money that reached us without a call to belong to. */
export function unappliedAccount(rail: string): Account {
  return named(`L.unapplied:${rail}`, MILLICENT_UNIT);
}

/** The account of a cost on a rail, for example gas, by the name the rail gives it. */
export function named(name: string, unit: string): Account {
  return { id: uuidFrom('ledger-account', name), name, unit };
}
