import { z } from 'zod';
import type { PaymentStanding } from '../provider.ts';

/** A 64-bit integer as protobuf's JSON writes it: a string; some vendors write a number. */
export const int64 = z
  .union([z.string().regex(/^-?[0-9]+$/), z.number().int()])
  .transform((value) => BigInt(value));

/** Millisatoshis as Core Lightning writes them: a number, before 23.08 also `"1000msat"`. */
export const clnMsat = z
  .union([z.number().int(), z.string().regex(/^[0-9]+(?:msat)?$/)])
  .transform((value) => BigInt(String(value).replace('msat', '')));

/** The average time from one block to the next. */
export const BLOCK_MS = 10 * 60 * 1000;

const MSAT_PER_SAT = 1_000n;

export function hexToBase64(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64');
}

/** With the padding that grpc-gateway insists on. */
export function hexToBase64Url(hex: string): string {
  return hexToBase64(hex).replaceAll('+', '-').replaceAll('/', '_');
}

export function base64ToHex(text: string): string {
  return Buffer.from(text, 'base64').toString('hex');
}

/** Satoshis for a vendor that knows no smaller unit; the rail asks for none. */
export function toWholeSats(msat: bigint): number {
  if (msat % MSAT_PER_SAT !== 0n) throw new RangeError(`${msat} msat are no whole satoshis`);
  return Number(msat / MSAT_PER_SAT);
}

export function satsToMsat(sats: number | bigint): bigint {
  return BigInt(sats) * MSAT_PER_SAT;
}

export function toPaymentStanding(payment: {
  state: 'succeeded' | 'failed' | 'pending';
  preimage?: string | undefined;
  feeMsat?: bigint | undefined;
  reason?: string | undefined;
}): PaymentStanding {
  if (payment.state === 'succeeded') {
    return { kind: 'succeeded', preimage: payment.preimage ?? '', feeMsat: payment.feeMsat ?? 0n };
  }
  if (payment.state === 'failed') return { kind: 'failed', reason: payment.reason || 'the payment failed' };
  return { kind: 'pending' };
}
