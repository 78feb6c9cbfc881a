import type { Limits } from './budget.ts';

/** Where money moves. */
export type RailName = 'evm' | 'tempo' | 'lightning' | 'stripe';

/** A 402, as payers look at it. */
export type Challenged = { url: string; headers: Headers; now: Date };

/** A header that pays, or asks about a payment. */
export type PaymentHeader = { name: string; value: string };

/** One way to pay a 402. Nothing is signed before `pay`. */
export type Payable = {
  rail: RailName;
  /** Native units, and what they are (CAIP-19 of a token, `sat`, `usd-cents`). */
  units: bigint;
  unit: string;
  /** In millicents, rounded up; undefined when only a limit in native units can judge it. */
  mcents: bigint | undefined;
  /** The rail's own id of the payment, where it is known before. */
  reference: string | undefined;
  /**
   * `pay` itself moves money for good: when it fails, nobody knows; when it succeeds, nothing comes back. Where
   * it is false, `pay` only signs, and what is signed is worthless until it is sent.
   */
  movesMoney: boolean;
  /** Called at most once. */
  pay(signal: AbortSignal): Promise<PaymentHeader>;
  /** Asks the server what became of the payment when `pay` has failed. */
  question?: PaymentHeader;
};

/** Pays by one rail. */
export type Payer = {
  readonly rail: RailName;
  /** Limits in satoshis, for a payer that knows no rate. */
  readonly satLimits?: Limits | undefined;
  /** The ways to pay this 402 that the payer is configured for, cheapest first. Never throws. */
  list(challenged: Challenged): Promise<Payable[]>;
};

/** Atomic units of a dollar token (or cents) as millicents, rounded up. */
export function toMillicentsRoundedUp(units: bigint, decimals: number): bigint {
  const scale = 10n ** BigInt(decimals);
  return (units * 100_000n + scale - 1n) / scale;
}

export function byAmount(one: Payable, other: Payable): number {
  const difference = (one.mcents ?? one.units) - (other.mcents ?? other.units);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}
