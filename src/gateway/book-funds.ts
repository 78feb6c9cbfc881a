import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { millicents } from '../core/money.ts';
import type { Tx } from '../db/index.ts';
import type { RailName, Settled } from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';

export type Arrived = {
  claimKey: string;
  rail: RailName;
  unit: string;
  /** What was asked for, in native units; `amount` is its price. */
  units: bigint;
  amount: bigint;
  /** Whose it is. */
  accountId: Uuid;
};

/**
 * Books a payment that arrived, once: the price to the payer's account, what the rate brought beyond it as fx
 * income, and what was overpaid as unapplied. False when it was booked before.
 */
export async function bookFunds(
  deps: Pick<GatewayDeps, 'ledger'>,
  tx: Tx,
  arrived: Arrived,
  settled: Settled,
): Promise<boolean> {
  const { claimKey, rail, unit, units, accountId } = arrived;
  invariant(settled.units >= units, `${claimKey} brought less than it was settled for`);
  const amount = millicents(arrived.amount);
  const worth = settled.worth ?? amount;
  const isBooked = await deps.ledger.fund(tx, {
    ...{ rail, unit, units, amount, worth, accountId },
    reference: claimKey,
    costs: settled.costs,
  });
  const excess = settled.units - units;
  if (!isBooked || excess === 0n) return isBooked;
  return deps.ledger.fund(tx, {
    ...{ rail, unit, units: excess, accountId: undefined },
    reference: `${claimKey}:overpaid`,
    amount: millicents((worth * excess) / units),
    costs: [],
  });
}

/** Books that a chain took a payment back for good after it had been booked. */
export async function bookLoss(
  deps: Pick<GatewayDeps, 'ledger'>,
  tx: Tx,
  arrived: Omit<Arrived, 'accountId'>,
): Promise<void> {
  const { claimKey: reference, rail, unit, units, amount: worth } = arrived;
  await deps.ledger.loseFunds(tx, { reference, rail, unit, units, worth });
}
