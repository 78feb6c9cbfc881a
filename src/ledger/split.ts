import { sha256 } from '../core/bytes.ts';
import type { Uuid } from '../core/ids.ts';
import { type Millicents, millicents } from '../core/money.ts';

/** The platform's share, in basis points, by how a tool is served. */
export const FEE_BPS = { hosted: 2_000, 'self-hosted': 500, platform: 10_000 } as const;
export type Tier = keyof typeof FEE_BPS;

const BPS = 10_000n;

/** The last that did not depend on the call: most calls are of one price. */
let whole: { price: Millicents; tier: Tier; fee: Millicents } | undefined;

/**
 * The platform's part of a call's price: floor(price x bps / 10,000), plus one when the call's own hash says
 * so. Over many calls of a millicent the platform gets its share, and anyone can recompute each one.
 */
export function feeOf(price: Millicents, tier: Tier, callId: Uuid): Millicents {
  if (whole?.price === price && whole.tier === tier) return whole.fee;
  const product = price * BigInt(FEE_BPS[tier]);
  const remainder = product % BPS;
  if (remainder === 0n) {
    whole = { price, tier, fee: millicents(product / BPS) };
    return whole.fee;
  }
  const draw = BigInt(sha256(callId).readUInt32BE(0)) % BPS;
  return millicents(product / BPS + (draw < remainder ? 1n : 0n));
}
