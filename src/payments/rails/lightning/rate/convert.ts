import { AMOUNT_MILLICENTS_MAX, type Millicents, millicents } from '../../../../core/money.ts';
import type { RateReading } from './rate.ts';

const SATS_PER_BTC = 100_000_000n;
const MSAT_PER_BTC = 100_000_000_000n;
const BPS = 10_000n;

/** The whole satoshis that cover an amount and the spread. */
export function toSatsRoundedUp(
  amount: Millicents,
  rate: Pick<RateReading, 'millicentsPerBtc' | 'spreadBps'>,
): bigint {
  const dividend = amount * SATS_PER_BTC * (BPS + rate.spreadBps);
  const divisor = rate.millicentsPerBtc * BPS;
  return (dividend + divisor - 1n) / divisor;
}

/** What so many millisatoshis are worth at a rate, without any spread. */
export function toMillicentsRoundedDown(msat: bigint, millicentsPerBtc: bigint): Millicents {
  const worth = (msat * millicentsPerBtc) / MSAT_PER_BTC;
  return millicents(worth < AMOUNT_MILLICENTS_MAX ? worth : AMOUNT_MILLICENTS_MAX);
}
