import { invariant } from './invariant.ts';

declare const millicentsBrand: unique symbol;

/** An amount of US dollars in millicents: $1 = 100,000. Never negative past the door. */
export type Millicents = bigint & { readonly [millicentsBrand]: 'millicents' };

/** 1 millicent is 10 atomic units of a 6-decimal dollar token. */
const ATOMIC_UNITS_PER_MILLICENT = 10n;

/** The largest amount any one field may carry: $10,000,000, far inside a safe integer. */
export const AMOUNT_MILLICENTS_MAX = 1_000_000_000_000n;

export const ZERO = millicents(0n);

/** Brands a bigint (or a safe integer) as millicents; a negative or oversized amount is our bug. */
export function millicents(amount: bigint | number): Millicents {
  const value = BigInt(amount);
  // The words are put together only when they are said.
  if (value < 0n || value > AMOUNT_MILLICENTS_MAX) invariant(false, `amount out of range: ${value}`);
  // The range was just checked: this is the one place the brand is given.
  return value as Millicents;
}

/** Atomic units of a 6-decimal dollar token worth exactly `amount`. */
export function toTokenUnits(amount: Millicents): bigint {
  return amount * ATOMIC_UNITS_PER_MILLICENT;
}

/** Whole millicents in `units` of a 6-decimal dollar token; a remainder is dropped. */
export function fromTokenUnitsRoundedDown(units: bigint): Millicents {
  return millicents(units / ATOMIC_UNITS_PER_MILLICENT);
}

const WIRE_NUMBER_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** Millicents as the integer JSON number that `/v1` carries. */
export function toWireNumber(amount: bigint): number {
  invariant(amount >= -AMOUNT_MILLICENTS_MAX && amount <= WIRE_NUMBER_MAX, 'amount too large');
  return Number(amount);
}

/** "$0.0025" for people; exact, with trailing zeros dropped down to cents. */
export function formatDollars(amount: bigint): string {
  const sign = amount < 0n ? '-' : '';
  const absolute = amount < 0n ? -amount : amount;
  const fraction = (absolute % 100_000n)
    .toString()
    .padStart(5, '0')
    .replace(/0{1,3}$/, '');
  return `${sign}$${absolute / 100_000n}.${fraction}`;
}
