import { setTimeout as sleep } from 'node:timers/promises';
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { z } from 'zod';
import { archiveHash } from '../../../src/core/archive.ts';
import { sha256Hex } from '../../../src/core/bytes.ts';
import { canonicalJson } from '../../../src/core/canonical-json.ts';
import { formatDollars } from '../../../src/core/money.ts';
import { type BatchProof, verifyBatchProof } from '../../../src/provenance/index.ts';
import { read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import type { Delivered, Listed, Stage } from '../stage.ts';
import type { PaidCall } from './pay-per-call.ts';

const RECEIPT_TYPE = 'mcp-receipt+jws';
const SEAL_WAIT_MAX_MS = 30_000;
const CALLS_SAMPLED = 20;
const SEAL_POLL_MS = 250;

const jwksSchema = z.custom<JSONWebKeySet>(
  (value) => z.object({ keys: z.array(z.object()) }).safeParse(value).success,
);
const payloadSchema = z.looseObject({
  jti: z.uuid(),
  server: z.string(),
  tool: z.string(),
  version: z.string(),
  code: z.string(),
  log: z.looseObject({ index: z.int() }),
  lane: z.string(),
  seq: z.int(),
  price_mcents: z.string(),
  fee_mcents: z.string(),
  rail: z.string(),
  payment_ref: z.string(),
  req: z.string(),
  res: z.string(),
});
const issuedSchema = z.looseObject({
  receipt: payloadSchema,
  jws: z.string(),
  batch: z.custom<BatchProof>((value) => typeof value === 'object' && value !== null).optional(),
});

export type ReceiptsInput = { paid: PaidCall; metered: Delivered[]; listed: Listed[] };

/** Proves from public data which code answered which request, and what was paid for it. */
export async function verifyReceipts(stage: Stage, input: ReceiptsInput): Promise<void> {
  const { narrator, info } = stage;
  narrator.step('A receipt, verified with the public key and nothing else from the gateway');
  const jwks = read(await send(`${info.url}/.well-known/jwks.json`), 200, jwksSchema);
  await verifyPaidCall(stage, input, jwks);
  await verifyMeteredCall(stage, input.metered, jwks);
}

async function verifyPaidCall(
  stage: Stage,
  { paid, listed }: ReceiptsInput,
  jwks: JSONWebKeySet,
): Promise<void> {
  const { narrator } = stage;
  const { jws } = await fetchReceipt(stage, paid);
  const receipt = await verifySignature(jws, jwks);
  narrator.fact('GET /receipts/{id}', receipt.jti);
  narrator.fact('signature', 'EdDSA, valid under a key of /.well-known/jwks.json');
  narrator.fact(
    'sold',
    `${receipt.tool} of ${receipt.server} ${receipt.version}, log entry #${receipt.log.index}`,
  );
  narrator.fact(
    'paid',
    `${formatDollars(BigInt(receipt.price_mcents))} by ${receipt.rail}, of which fee ${formatDollars(BigInt(receipt.fee_mcents))}`,
  );
  narrator.fact('payment', receipt.payment_ref);
  mustEqual(receipt.payment_ref, paid.transaction, 'The payment on the receipt');
  narrator.fact('sequence', `${receipt.seq} of its tool on lane ${receipt.lane}`);

  const { server, tool, arguments: args, priceMcents } = paid.call;
  const sample = listed.find(({ manifest }) => manifest.name === server);
  must(sample, `${server} is listed`);
  const files = new Map(Object.entries(sample.files).map(([path, text]) => [path, Buffer.from(text)]));
  const code = `sha256:${archiveHash(files)}`;
  mustEqual(receipt.code, code, 'The code hash on the receipt');
  mustEqual(sample.codeHash, code, 'The code hash that publishing answered');
  narrator.checked(`code hash: recomputed from the uploaded files, ${code.slice(0, 23)}...`);
  mustEqual(receipt.req, digest({ server, tool, arguments: args }), 'The request hash');
  narrator.checked(
    `request hash: recomputed from server, tool and arguments, ${receipt.req.slice(0, 23)}...`,
  );
  mustEqual(receipt.res, digest(paid.answer.result), 'The response hash');
  narrator.checked(`response hash: recomputed from the result, ${receipt.res.slice(0, 23)}...`);
  mustEqual(receipt.price_mcents, String(priceMcents), 'The price on the receipt');
  mustEqual(await isValid(forge(jws), jwks), false, 'Whether a receipt with another price is valid');
  narrator.checked('the same receipt with another price does not verify');
}

/** Calls on a key are signed by batch: one signature over a Merkle root for many receipts. */
async function verifyMeteredCall(stage: Stage, metered: Delivered[], jwks: JSONWebKeySet): Promise<void> {
  const { narrator } = stage;
  const sampled = metered.slice(-CALLS_SAMPLED);
  const fetching = Promise.all(sampled.map((delivered) => fetchSealed(stage, delivered)));
  const issued = await narrator.waiting('waiting for the last batches to be signed', fetching);
  for (const { delivered, receipt, batch } of issued) {
    const verdict = await verifyBatchProof(receipt, batch, jwks);
    must(verdict.kind === 'valid', `the batch of ${receipt.jti} proves it`);
    const { server, tool, arguments: args, priceMcents } = delivered.call;
    mustEqual(receipt.req, digest({ server, tool, arguments: args }), 'The request hash');
    mustEqual(receipt.res, digest(delivered.answer.result), 'The response hash');
    mustEqual(receipt.price_mcents, String(priceMcents), 'The price on the receipt');
  }
  narrator.checked(
    `the last ${issued.length} metered calls: each proven by the signed batch it was charged in`,
  );
}

/** SHA-256 over canonical JSON (RFC 8785), as receipts spell it. */
function digest(value: unknown): string {
  return `sha256:${sha256Hex(canonicalJson(value))}`;
}

async function verifySignature(jws: string, jwks: JSONWebKeySet): Promise<z.infer<typeof payloadSchema>> {
  const { payload, protectedHeader } = await compactVerify(jws, createLocalJWKSet(jwks), {
    algorithms: ['EdDSA'],
  });
  mustEqual(protectedHeader.typ, RECEIPT_TYPE, 'The type of the signed receipt');
  return payloadSchema.parse(JSON.parse(Buffer.from(payload).toString()));
}

function isValid(jws: string, jwks: JSONWebKeySet): Promise<boolean> {
  return verifySignature(jws, jwks).then(
    () => true,
    () => false,
  );
}

/** The receipt as somebody would forge it: the price changed, the signature kept. */
function forge(jws: string): string {
  const [header, payload = '', signature] = jws.split('.');
  const text = Buffer.from(payload, 'base64url').toString();
  const forged = text.replace(/"price_mcents":"\d+"/, '"price_mcents":"1"');
  must(forged !== text, 'the forged receipt has another price');
  return [header, Buffer.from(forged).toString('base64url'), signature].join('.');
}

async function fetchReceipt({ info }: Stage, { answer }: Delivered): Promise<z.infer<typeof issuedSchema>> {
  return read(await send(`${info.url}/receipts/${answer.receipt_id}`), 200, issuedSchema);
}

async function fetchSealed(stage: Stage, delivered: Delivered) {
  const deadline = Date.now() + SEAL_WAIT_MAX_MS;
  for (;;) {
    const { receipt, batch } = await fetchReceipt(stage, delivered);
    if (batch) return { delivered, receipt, batch };
    must(Date.now() < deadline, 'the batch of a receipt is signed within half a minute');
    await sleep(SEAL_POLL_MS);
  }
}
