import type { Millicents } from '../core/money.ts';
import type { SettlementIntent } from './rail.ts';

/** A payment that a person makes on the provider's own page. */
export type CheckoutInput = {
  /** Ours, random and one for each: it makes the opening of a session repeatable. */
  reference: string;
  accountId: string;
  amount: Millicents;
  /** What is sold, in a few words. */
  description: string;
  /** Where the browser goes when it was paid, and when it was not. */
  paidUrl: string;
  leftUrl: string;
};

export type CheckoutOpening =
  | {
      kind: 'open';
      sessionId: string;
      url: string;
      expiresAt: Date;
      /** What settling it takes: it is settled like any other payment of its rail. */
      intent: SettlementIntent;
    }
  /** It can never be paid this way; `reason` is public. */
  | { kind: 'refused'; reason: string }
  | { kind: 'unavailable'; cause: unknown };

/** Opens payment pages. What becomes of one is the rail's to say, by the intent's form. */
export type Checkout = {
  open(input: CheckoutInput, signal: AbortSignal): Promise<CheckoutOpening>;
};
