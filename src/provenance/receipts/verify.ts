import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import type { z } from 'zod';
import { canonicalJson } from '../../core/canonical-json.ts';
import { verifyInclusion } from '../merkle/merkle.ts';
import {
  type BatchPayload,
  batchPayloadSchema,
  type ReceiptPayload,
  receiptLeafHash,
  receiptPayloadSchema,
} from './receipt.ts';
import { BATCH_TYP, RECEIPT_TYP } from './signer.ts';

export type Verdict<Payload> =
  | { kind: 'valid'; payload: Payload; kid: string }
  | { kind: 'invalid'; reason: string };

/** A receipt's place in a signed batch, as `GET /receipts/{id}` tells it; hashes are hex. */
export type BatchProof = { jws: string; index: number; leaf_count: number; path: string[] };

/** Longer than any receipt we sign, and short enough to hash without a second thought. */
const JWS_LENGTH_MAX = 16_384;
const PATH_LENGTH_MAX = 64;

/** Whether this JWS is a receipt signed by one of the keys. Never throws for bad input. */
export function verifyReceipt(jws: string, jwks: JSONWebKeySet): Promise<Verdict<ReceiptPayload>> {
  return verifyJws(jws, jwks, RECEIPT_TYP, receiptPayloadSchema);
}

/**
 * Whether the batch signed by one of the keys holds exactly this receipt at that index. `payload` is a
 * receipt's payload from anywhere: the proof alone vouches for it. Never throws for bad input.
 */
export async function verifyBatchProof(
  payload: unknown,
  proof: BatchProof,
  jwks: JSONWebKeySet,
): Promise<Verdict<ReceiptPayload>> {
  const receipt = receiptPayloadSchema.safeParse(payload);
  if (!receipt.success) return invalid('the payload is not a receipt');
  const batch = await verifyJws(proof.jws, jwks, BATCH_TYP, batchPayloadSchema);
  if (batch.kind === 'invalid') return batch;
  if (proof.leaf_count !== batch.payload.leaf_count)
    return invalid('the batch has another number of receipts');
  if (proof.path.length > PATH_LENGTH_MAX) return invalid('the path is too long');
  const isIncluded = verifyInclusion({
    index: proof.index,
    treeSize: batch.payload.leaf_count,
    leafHash: receiptLeafHash(receipt.data),
    path: proof.path.map((hash) => Buffer.from(hash, 'hex')),
    root: Buffer.from(batch.payload.root.slice('sha256:'.length), 'hex'),
  });
  if (!isIncluded) return invalid('the receipt is not in the batch');
  if (receipt.data.iss !== batch.payload.iss) return invalid('the batch is of another issuer');
  return { kind: 'valid', payload: receipt.data, kid: batch.kid };
}

async function verifyJws<Schema extends z.ZodType>(
  jws: string,
  jwks: JSONWebKeySet,
  typ: string,
  schema: Schema,
): Promise<Verdict<z.infer<Schema>>> {
  if (jws.length > JWS_LENGTH_MAX) return invalid('the JWS is too long');
  if (!jws.split('.').every(isCanonicalBase64Url)) return invalid('the JWS is not canonical base64url');
  let verified: Awaited<ReturnType<typeof compactVerify>>;
  try {
    verified = await compactVerify(jws, createLocalJWKSet(jwks), { algorithms: ['EdDSA'] });
  } catch {
    // Whatever jose found, the receipt does not verify; its words are not for the public.
    return invalid('the signature does not verify');
  }
  const { kid, typ: typGiven } = verified.protectedHeader;
  if (typGiven !== typ || typeof kid !== 'string') return invalid(`the JWS is not a ${typ}`);
  const text = Buffer.from(verified.payload).toString('utf8');
  const payload = schema.safeParse(parseJson(text));
  if (!payload.success || canonicalJson(payload.data) !== text)
    return invalid('the payload is not canonical');
  return { kind: 'valid', payload: payload.data, kid };
}

/** What a batch's JWS says, unverified: for one that comes from our own database. */
export function readBatchPayload(jws: string): BatchPayload {
  return batchPayloadSchema.parse(parseJson(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()));
}

/** Spare bits at the end of base64url would let one signature be spelled in several ways. */
function isCanonicalBase64Url(part: string): boolean {
  return Buffer.from(part, 'base64url').toString('base64url') === part;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function invalid(reason: string): { kind: 'invalid'; reason: string } {
  return { kind: 'invalid', reason };
}
