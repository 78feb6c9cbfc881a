import { z } from 'zod';

/** What the service and its clients say to each other; whole numbers of millisatoshis travel as strings. */

const hash = z.stringFormat('hash', /^[0-9a-f]{64}$/);
const msat = z.stringFormat('msat', /^[0-9]{1,19}$/).transform((digits) => BigInt(digits));
const instant = z.iso.datetime().transform((text) => new Date(text));

/** 21 million bitcoin. */
const MSAT_MAX = 2_100_000_000_000_000_000n;
const amount = msat.refine((value) => value > 0n && value <= MSAT_MAX, 'an amount above zero');
const WEEK_SECONDS = 604_800;
const PAY_TIMEOUT_MAX_MS = 600_000;

export const hashSchema = hash;

export const invoiceInputSchema = z.strictObject({
  amountMsat: amount,
  memo: z.string().max(639),
  expirySeconds: z.int().min(1).max(WEEK_SECONDS),
  paymentHash: hash.optional(),
});

export const mintedSchema = z.object({ invoice: z.string(), paymentHash: hash, expiresAt: instant });

export const standingSchema = z.object({
  state: z.enum(['open', 'held', 'settled', 'cancelled', 'expired', 'missing']),
  receivedMsat: msat,
  settledAt: instant.optional(),
  holdDeadline: instant.optional(),
});

export const settleSchema = z.strictObject({ preimage: hash });

export const payInputSchema = z.strictObject({
  invoice: z.string().max(4_096),
  amountMsat: amount.optional(),
  feeMaxMsat: msat,
  timeoutMs: z.int().min(1).max(PAY_TIMEOUT_MAX_MS),
});

export const paymentSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('succeeded'), preimage: hash, feeMsat: msat }),
  z.object({ kind: z.literal('failed'), reason: z.string() }),
  z.object({ kind: z.literal('pending') }),
  z.object({ kind: z.literal('missing') }),
]);

export const changesSchema = z.object({
  changes: z.array(z.object({ paymentHash: hash, standing: standingSchema, cursor: z.string() })),
});

export const balanceSchema = z.object({ msat });

export const healthSchema = z.object({
  isReady: z.boolean(),
  nodeId: z.string(),
  height: z.int(),
  usableChannels: z.int(),
});

export const tipSchema = z.object({ height: z.int(), hash: z.string() });
export const blocksSchema = z.object({ blocks: z.array(z.string()) });
export const transactionSchema = z.strictObject({
  transaction: z.stringFormat('hex', /^(?:[0-9a-f]{2}){10,50000}$/),
});
export const mineSchema = z.strictObject({ blocks: z.int().min(1).max(1_000) });
export const fundSchema = z.strictObject({
  script: z.stringFormat('hex', /^(?:[0-9a-f]{2}){1,100}$/),
  sats: msat,
});

/** Where a service is found: written to its folder once it answers, readable by its owner only. */
export const addressSchema = z.object({
  url: z.string(),
  token: z.string(),
  nodeId: z.string(),
  /** BOLT 8 over TCP on loopback. */
  peerPort: z.int(),
  pid: z.int(),
});
export type ServiceAddress = z.infer<typeof addressSchema>;

/** A body of this API: bigints become strings of digits, dates ISO 8601. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, member) => (typeof member === 'bigint' ? String(member) : member));
}
