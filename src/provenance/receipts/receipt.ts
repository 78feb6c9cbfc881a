import { z } from 'zod';
import { hmacSha256 } from '../../core/bytes.ts';
import { canonicalJson } from '../../core/canonical-json.ts';
import { toUnixSeconds } from '../../core/clock.ts';
import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import { type Hash, leafHashOf } from '../merkle/merkle.ts';

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const mcents = z.string().regex(/^(?:0|[1-9][0-9]{0,18})$/);
const id = z.uuid();
const count = z.int().nonnegative();

/** What a receipt says. Its canonical JSON is what is signed, and the leaf of its batch. */
export const receiptPayloadSchema = z.strictObject({
  v: z.literal(1),
  /** Who issued it: the gateway's public URL. */
  iss: z.string(),
  /** The receipt, which is the call. */
  jti: id,
  /** The name in the catalog, which the log entry calls `tool`. */
  server: z.string(),
  /** The MCP tool that was called. */
  tool: z.string(),
  tool_id: id,
  version: z.string(),
  code: digest,
  log: z.strictObject({ origin: z.string(), index: count }),
  /** One gateway worker; `seq` counts without a gap per tool and lane. */
  lane: z.string(),
  seq: count,
  payer: z.string(),
  price_mcents: mcents,
  fee_mcents: mcents,
  rail: z.string(),
  payment_ref: z.string(),
  req: digest,
  res: digest,
  iat: count,
});
export type ReceiptPayload = z.infer<typeof receiptPayloadSchema>;

/** What the signature over a batch of receipts says. */
export const batchPayloadSchema = z.strictObject({
  v: z.literal(1),
  iss: z.string(),
  batch: id,
  /** The RFC 6962 root over the receipts' canonical payloads. */
  root: digest,
  leaf_count: z.int().positive(),
  /** The version log that the receipts of the batch point into. */
  log: z.string(),
  iat: count,
});
export type BatchPayload = z.infer<typeof batchPayloadSchema>;

/** What the gateway knows of a paid call before it is charged. */
export type ReceiptDraft = {
  toolId: Uuid;
  versionId: Uuid;
  /** The MCP tool that was called. */
  toolName: string;
  /** `opaquePayer` of the account a key spends, or the CAIP-10 address of who signed a credential. */
  payer: string;
  /** Where the money came from: a rail's name, or `key` for the prepaid balance of a bearer key. */
  rail: string;
  paymentRef: string;
  /** SHA-256 of the canonical request and of the canonical result. */
  requestHash: Buffer;
  responseHash: Buffer;
};

/** A receipt as it stands in the database. */
export type Receipt = ReceiptDraft & {
  id: Uuid;
  lane: string;
  seq: bigint;
  price: bigint;
  fee: bigint;
  batchId: Uuid | null;
  issuedAt: Date;
};

/** A version as its log entry names it; it never changes, and sealed batches rely on that. */
export type VersionDescription = { name: string; version: string; codeSha256: string; logIndex: bigint };

/** The payload of a receipt: the same bytes every time, from facts that never change. */
export function toReceiptPayload(
  receipt: Receipt,
  version: VersionDescription,
  issuer: { iss: string; log: string },
): ReceiptPayload {
  return {
    v: 1,
    iss: issuer.iss,
    jti: receipt.id,
    server: version.name,
    tool: receipt.toolName,
    tool_id: receipt.toolId,
    version: version.version,
    code: `sha256:${version.codeSha256}`,
    log: { origin: issuer.log, index: toCount(version.logIndex) },
    lane: receipt.lane,
    seq: toCount(receipt.seq),
    payer: receipt.payer,
    price_mcents: receipt.price.toString(),
    fee_mcents: receipt.fee.toString(),
    rail: receipt.rail,
    payment_ref: receipt.paymentRef,
    req: toDigest(receipt.requestHash),
    res: toDigest(receipt.responseHash),
    iat: toUnixSeconds(receipt.issuedAt),
  };
}

/** The leaf of a receipt in the tree of its batch. */
export function receiptLeafHash(payload: ReceiptPayload): Hash {
  return leafHashOf(canonicalJson(payload));
}

/** Names the account a key spends without telling which: the same account gets the same name. */
export function opaquePayer(salt: Uint8Array, accountId: Uuid): string {
  return `payer:${hmacSha256(salt, accountId).subarray(0, 16).toString('hex')}`;
}

export function toDigest(hash: Buffer): string {
  return `sha256:${hash.toString('hex')}`;
}

function toCount(value: bigint): number {
  invariant(value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER), `not a count: ${value}`);
  return Number(value);
}
