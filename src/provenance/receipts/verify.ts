import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { z } from 'zod';
import { canonicalJson } from '../../core/canonical-json.ts';
import { NoteError } from '../log/note-error.ts';
import { verifyTlogProof } from '../log/tlog-proof.ts';
import { parseVkey } from '../log/vkey.ts';
import { leafHashOf, verifyInclusion } from '../merkle/merkle.ts';
import { commitTo, decodeCommitment, encodeCommitment, isCommitment } from './commitments/commitment.ts';
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

export type LogVerdict =
  | { kind: 'valid'; payload: ReceiptPayload; index: number; treeSize: number }
  | { kind: 'invalid'; reason: string };

/** `LoggedReceipt`, as `GET /receipts/{id}` tells it. */
const loggedReceiptSchema = z.strictObject({
  origin: z.string(),
  index: z.int().nonnegative(),
  entry: z.string(),
  salt: z.string().regex(/^[0-9a-f]{32}$/),
  proof: z.string(),
});

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

/**
 * Whether payload and salt open the commitment in the entry, and the receipts log of this origin, signed by one of
 * these keys (vkeys), holds the entry there. Never throws for bad input.
 */
export function verifyLoggedReceipt(
  payload: unknown,
  logged: unknown,
  expected: { origin: string; vkeys: readonly string[] },
): LogVerdict {
  const receipt = receiptPayloadSchema.safeParse(payload);
  if (!receipt.success) return invalid('the payload is not a receipt');
  const place = loggedReceiptSchema.safeParse(logged);
  if (!place.success) return invalid('the place in the log is not one');
  const { origin, index, entry, salt, proof } = place.data;
  if (origin !== expected.origin) return invalid('the receipt is of another log');
  const bytes = Buffer.from(entry, 'latin1');
  if (!decodeCommitment(bytes)) return invalid('the entry is not one of a receipts log');
  const opened = commitmentText(receipt.data, Buffer.from(salt, 'hex'));
  if (opened !== entry) return invalid('payload and salt do not open the commitment');
  try {
    const logKeys = expected.vkeys.map(parseVkey);
    const proven = verifyTlogProof(proof, { leafHash: leafHashOf(bytes), origin, logKeys });
    if (proven.index !== index) return invalid('the proof is of another index');
    return { kind: 'valid', payload: receipt.data, index, treeSize: proven.checkpoint.treeSize };
  } catch (cause) {
    if (!(cause instanceof NoteError)) throw cause;
    return invalid(cause.message);
  }
}

/** What a receipt under this salt is in the log; undefined where the log has no words for it. */
function commitmentText(payload: ReceiptPayload, salt: Buffer): string | undefined {
  const commitment = commitTo(payload, salt);
  return isCommitment(commitment) ? encodeCommitment(commitment).toString('latin1') : undefined;
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
