import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import type { Millicents } from '../../../core/money.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { StripeClient } from './client.ts';

export type StripeRailDeps = {
  client: StripeClient;
  /** Our Stripe profile, which payers grant tokens to; without one only Checkout is there. */
  networkId: string | undefined;
  /** The least it takes; never below what Stripe itself charges. */
  amountMin: Millicents;
  paymentMethodTypes: readonly string[];
  clock: Clock;
  log: Log;
  timeouts: {
    /** The longest `verify`, `lookup` and `balances` may take. */
    lookMs: number;
    /** The longest `hold`, `settle` and `cancel` may take. */
    settleMs: number;
  };
};

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/**
 * How long an authorisation counts as holding. Cards allow seven days, Visa four days and 18 hours where no
 * person was there; a payment that is not captured by then is as good as gone.
 */
export const HOLD_MS = 108 * HOUR_MS;

/** Stripe forgets an idempotency key after 24 hours: beyond this the same creation could charge anew. */
export const CREATE_MS_MAX = 20 * HOUR_MS;

/** By then whatever was created is in the search index, which runs a minute and at worst an hour behind. */
export const SEARCH_SURE_MS = 24 * HOUR_MS;

/** A token must outlive the moment between our look at it and its use. */
export const TOKEN_MARGIN_MS = 10_000;

/** The most one payment may be at Stripe: $999,999.99. */
export const UNITS_MAX = 99_999_999n;

export const MILLICENTS_PER_CENT = 1_000n;

/** Cents that cover an amount: charges round up. */
export function toCentsRoundedUp(amount: bigint): bigint {
  return (amount + MILLICENTS_PER_CENT - 1n) / MILLICENTS_PER_CENT;
}

export function within(signal: AbortSignal, ms: number): AbortSignal {
  return timeLimit(signal, ms);
}
