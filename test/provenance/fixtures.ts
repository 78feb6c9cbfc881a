import { randomBytes } from 'node:crypto';
import { systemClock } from '../../src/core/clock.ts';
import { bucketOf, newUuid, type Uuid } from '../../src/core/ids.ts';
import { silentLog } from '../../src/core/log.ts';
import type { Sql, Tx } from '../../src/db/index.ts';
import type { Rider } from '../../src/ledger/index.ts';
import {
  createLog,
  createReceiptSigner,
  createReceipts,
  newLane,
  newReceiptKeyPem,
  type ReceiptDraft,
  type ReceiptPayload,
  type ReceiptsDeps,
  type TransparencyLog,
} from '../../src/provenance/index.ts';

export const ISSUER = 'https://market.example';
export const LOG_ORIGIN = 'market.example/versions';
export const RECEIPTS_ORIGIN = 'market.example/receipts';

export function createSigner(issuer = ISSUER) {
  return createReceiptSigner({ issuer, privateKey: newReceiptKeyPem(), retiredPublicKeys: [] });
}

/** The receipts of one gateway process; every version is 1.2.3 of acme/text-stats. */
export function createTestReceipts(sql: Sql, overrides: Partial<ReceiptsDeps> = {}) {
  return createReceipts({
    sql,
    clock: systemClock,
    log: silentLog,
    signer: createSigner(),
    lane: newLane(),
    leftOpenMs: 0,
    logOrigin: LOG_ORIGIN,
    receiptsLog: createReceiptsLog(sql),
    describeVersion: async () => ({
      name: 'acme/text-stats',
      version: '1.2.3',
      codeSha256: 'c0de'.repeat(16),
      logIndex: 7n,
    }),
    ...overrides,
  });
}

/** The receipts log of a gateway with a key of its own, unless one is told. */
export function createReceiptsLog(sql: Sql, currentPem = newReceiptKeyPem()): TransparencyLog {
  const keys = { currentPem, previousPem: undefined };
  return createLog({
    sql,
    clock: systemClock,
    log: silentLog,
    keys,
    name: 'receipts',
    origin: RECEIPTS_ORIGIN,
  });
}

export function createDraft(overrides: Partial<ReceiptDraft> = {}): ReceiptDraft {
  return {
    toolId: newUuid(),
    versionId: newUuid(),
    toolName: 'count_words',
    payer: 'payer:00112233445566778899aabbccddeeff',
    rail: 'key',
    paymentRef: `call:${newUuid()}`,
    requestHash: randomBytes(32),
    responseHash: randomBytes(32),
    ...overrides,
  };
}

export const PAYLOAD: ReceiptPayload = {
  v: 1,
  iss: ISSUER,
  jti: '01890000-0000-7000-8000-000000000001',
  server: 'acme/text-stats',
  tool: 'count_words',
  tool_id: '01890000-0000-7000-8000-000000000002',
  version: '1.2.3',
  code: `sha256:${'c0de'.repeat(16)}`,
  log: { origin: LOG_ORIGIN, index: 7 },
  lane: '0011223344556677',
  seq: 42,
  payer: 'eip155:84532:0x1111111111111111111111111111111111111111',
  price_mcents: '250',
  fee_mcents: '50',
  rail: 'evm',
  payment_ref: '0xabc',
  req: `sha256:${'aa'.repeat(32)}`,
  res: `sha256:${'bb'.repeat(32)}`,
  iat: 1_763_702_345,
};

/** One call of a batch; an amount of `undefined` is a call the ledger did not accept. */
export type Call = { id: string; draft: ReceiptDraft | null; amount: bigint | undefined };

export function createCall(
  draft: ReceiptDraft | null = createDraft(),
  amount: bigint | undefined = 250n,
): Call {
  return { id: newUuid(), draft, amount };
}

/** What `chargeBatch` charges has one payer. */
export const PAYER: Uuid = newUuid();
const BUCKET = bucketOf(PAYER);

/** Charges a batch the way the ledger's statement does, with `accepted` made of values. */
export async function chargeBatch(
  sql: Sql | Tx,
  rider: Rider<ReceiptDraft | null>,
  calls: readonly Call[],
): Promise<void> {
  const statement = `WITH accepted AS (
    SELECT ord, id, ${BUCKET} AS bucket, amount, amount / 5 AS fee FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS t(id, amount, ord)
    WHERE amount IS NOT NULL),
  ${rider.cte(3)}
  SELECT array_agg(ord::int) AS ords, array_agg(fee) AS fees, ${rider.answer} AS rider FROM accepted`;
  const parameters = [
    calls.map(({ id }) => id),
    `{${calls.map(({ amount }) => amount ?? 'NULL').join(',')}}`,
    ...rider.parameters(calls.map(({ id, draft }) => ({ id, item: draft }))),
  ];
  const [row] = await sql.unsafe<{ ords: number[] | null; fees: bigint[]; rider: string | null }[]>(
    statement,
    parameters as never[],
    { prepare: true },
  );
  if (!row?.ords || row.rider === null) return;
  const accepted = row.ords.map((ord, at) => ({ fee: row.fees[at] ?? 0n, call: calls[ord - 1] }));
  rider.written(
    row.rider,
    accepted.flatMap(({ fee, call }) =>
      call?.amount === undefined ? [] : [{ item: call.draft, id: call.id, amount: call.amount, fee }],
    ),
  );
}
