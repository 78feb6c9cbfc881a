import { readFileSync, statSync } from 'node:fs';
import type { JSONWebKeySet } from 'jose';
import { z } from 'zod';
import { type ReceiptPayload, verifyReceipt } from '../../provenance/index.ts';
import type { Door } from './door.ts';

/** A receipt that a buyer handed to the publisher: proof of a sale, whatever the gateway lists. */
export type BuyersReceipt = { file: string; payload: ReceiptPayload };

const FILE_BYTES_MAX = 1024 * 1024;
const jwksSchema = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) });
/** What `GET /receipts/{id}` answers, or the answer of a call with its receipt. */
const answerSchema = z.union([
  z.object({ jws: z.string() }).transform(({ jws }) => jws),
  z.object({ receipt: z.string() }).transform(({ receipt }) => receipt),
]);

/** Reads the receipts in these files; one that the gateway's keys did not sign is told as a fault. */
export async function readBuyersReceipts(
  door: Door,
  files: readonly string[],
  complain: (fault: string) => void,
): Promise<BuyersReceipt[]> {
  if (files.length === 0) return [];
  const jwks = readKeys(await door.json('/.well-known/jwks.json'));
  const receipts: BuyersReceipt[] = [];
  for (const file of files) {
    const verdict = await verifyReceipt(readJws(file), jwks);
    if (verdict.kind === 'valid') receipts.push({ file, payload: verdict.payload });
    else complain(`${file}: the receipt does not hold under the keys of this gateway: ${verdict.reason}`);
  }
  return receipts;
}

function readKeys(json: unknown): JSONWebKeySet {
  const parsed = jwksSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new Error('/.well-known/jwks.json is not a set of keys (RFC 7517)');
}

function readJws(file: string): string {
  if (statSync(file).size > FILE_BYTES_MAX) throw new Error(`${file} is too long for a receipt`);
  const bytes = readFileSync(file);
  const text = bytes.toString().trim();
  if (!text.startsWith('{')) return text;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error(`${file} is neither a JWS nor JSON`);
  }
  const parsed = answerSchema.safeParse(json);
  if (!parsed.success) throw new Error(`${file} holds no receipt: it has neither "jws" nor "receipt"`);
  return parsed.data;
}
