import { createHash } from 'node:crypto';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bucketOf } from '../../src/core/ids.ts';
import { silentLog } from '../../src/core/log.ts';
import { migrate } from '../../src/db/index.ts';
import { findOpening } from '../../src/provenance/receipts/commitments/store.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

const MIGRATIONS = resolve(import.meta.dirname, '../../migrations');
const TABLES = ['ledger_entry', 'receipt', 'payment_claim', 'payment_answer'] as const;

let database: TestDatabase;
let folder: string;
/** Each table's rows as JSON without their bucket, in order, before the migration. */
const before = new Map<string, string[]>();

/** Rows as a gateway of that time left them: the bucket of a hold and of its receipt was that of the call's id. */
const ROWS = `
  CREATE FUNCTION bucket_then(id uuid) RETURNS smallint LANGUAGE sql AS $$ SELECT (get_byte(uuid_send(id), 15) % 64)::smallint $$;
  INSERT INTO ledger_payer (bucket, id, balance, held, promo)
    SELECT bucket_then(id), id, 1000, 0, 0 FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 20)) s;
  INSERT INTO ledger_hold (bucket, id, account_id, payee_id, label, amount, fee, backing, state, created_at, expires_at)
    SELECT bucket_then(id), id, account_id, gen_random_uuid(), 'then', 100, 10, 'balance', 'captured', at, at FROM (
      SELECT gen_random_uuid() AS id, p.id AS account_id, now() - i * interval '11 days' AS at
      FROM ledger_payer p, generate_series(1, 30) AS i) s;
  INSERT INTO ledger_entry (transfer_id, leg, kind, debit_id, credit_id, unit, amount, created_at, available_at)
    SELECT id, leg, CASE leg WHEN 0 THEN 'share' ELSE 'fee' END, account_id, payee_id, 'mc', 45, created_at,
      CASE leg WHEN 0 THEN 'infinity' ELSE created_at END FROM ledger_hold, generate_series(0, 1) AS leg;
  INSERT INTO ledger_entry (transfer_id, leg, kind, debit_id, credit_id, unit, amount)
    SELECT id, leg, 'fund', CASE leg WHEN 0 THEN gen_random_uuid() ELSE payee END, CASE leg WHEN 0 THEN payee ELSE payer END, 'mc', 7
    FROM (SELECT gen_random_uuid() AS id, gen_random_uuid() AS payee, p.id AS payer FROM ledger_payer p) s, generate_series(0, 1) AS leg;
  INSERT INTO ledger_entry (transfer_id, leg, kind, debit_id, credit_id, unit, amount)
    VALUES ('00000000-0000-8000-8000-00000000002a', 0, 'cost', gen_random_uuid(), gen_random_uuid(), 'wei', 9);
  INSERT INTO receipt (bucket, id, tool_id, version_id, tool_name, lane, seq, payer, price, fee, rail, payment_ref, request_hash, response_hash, batch_id, issued_at)
    SELECT bucket, id, '00000000-0000-8000-8000-000000000001', gen_random_uuid(), 'then', 'lane', row_number() OVER (ORDER BY id),
      'payer', amount, fee, 'key', id::text, decode(repeat('01', 32), 'hex'), decode(repeat('02', 32), 'hex'),
      CASE WHEN row_number() OVER (ORDER BY id) <= 400 THEN '00000000-0000-8000-8000-0000000000b1'::uuid END, created_at FROM ledger_hold;
  INSERT INTO receipt_lane (tool_id, lane, last_seq) VALUES ('00000000-0000-8000-8000-000000000001', 'lane', 600);
  INSERT INTO receipt_batch (bucket, id, leaf_count, receipt_ids)
    SELECT 49, batch_id, count(*), array_agg(id ORDER BY seq) FROM receipt WHERE batch_id IS NOT NULL GROUP BY batch_id;
  INSERT INTO receipt_unlogged (bucket, receipt_id) SELECT bucket, id FROM receipt WHERE batch_id IS NULL AND seq > 500;
  INSERT INTO receipt_commitment (bucket, receipt_id, leaf_index, salt, iss, log_origin)
    SELECT bucket, id, CASE WHEN seq > 450 THEN seq + 7 ELSE seq END, decode(md5(seq::text), 'hex'),
      CASE WHEN seq BETWEEN 421 AND 430 THEN 'https://other.example' ELSE 'https://then.example' END, 'then.example/log'
    FROM receipt WHERE batch_id IS NULL AND seq <= 500;
  INSERT INTO payment_claim (bucket, id, claim_key, purpose, rail, payer, account_id, amount, request_digest, mode, state, answer_state, worker, context)
    SELECT bucket_then(id), id, 'key ' || id, 'call', 'evm', 'payer', account_id, 100, 'digest', 'after-run', 'delivered', 'answered', 'w', '{"a":1}' FROM ledger_hold;
  INSERT INTO payment_answer (bucket, id, payer, sealed, bytes) SELECT bucket, id, payer, '\\x0102', 2 FROM payment_claim;
  INSERT INTO free_take (bucket, id, account_id, name, period, expires_at)
    SELECT bucket_then(id), id, account_id, 'free', 'ever', now() FROM ledger_hold LIMIT 50;`;

beforeAll(async () => {
  database = await createTestDatabase({ isEmpty: true });
  folder = await mkdtemp(join(tmpdir(), 'millicent-migrations-'));
  for (const name of await readdir(MIGRATIONS)) {
    if (name.endsWith('.sql') && name < '0014') await cp(join(MIGRATIONS, name), join(folder, name));
  }
  await migrate({ url: database.url, folder, log: silentLog });
  await database.sql.unsafe(ROWS).simple();
  for (const table of TABLES) before.set(table, await readRows(table));
  await migrate({ url: database.url, folder: MIGRATIONS, log: silentLog });
});
afterAll(async () => {
  await database.close();
  await rm(folder, { recursive: true });
});

/** What came after them: the fee that an entry has since its capture is one row, and what a claim is attached to. */
const ADDED: Record<string, string[]> = { ledger_entry: ['fee'], payment_claim: ['attached_to'] };

async function readRows(table: string): Promise<string[]> {
  const added = ['bucket', ...(ADDED[table] ?? [])];
  const rows = await database.sql<{ row: string }[]>`
    SELECT (to_jsonb(t) - ${added}::text[])::text AS row FROM ${database.sql(table)} t ORDER BY 1`;
  return rows.map(({ row }) => row);
}

test.each(TABLES)('every row of %s is carried over as it was', async (table) => {
  expect(before.get(table)?.length).toBeGreaterThan(50);
  expect(await readRows(table)).toEqual(before.get(table));
});

test('the rows of a call are in the bucket of its payer, those of its claim in that of the claim', async () => {
  const rows = await database.sql<{ id: string; account: string; buckets: number[]; claims: number[] }[]>`
    SELECT h.id, h.account_id AS account, array_agg(DISTINCT x.bucket) AS buckets, array_agg(DISTINCT y.bucket) AS claims
    FROM ledger_hold h CROSS JOIN LATERAL (
      SELECT h.bucket UNION ALL SELECT bucket FROM ledger_entry WHERE transfer_id = h.id
      UNION ALL SELECT bucket FROM receipt WHERE id = h.id UNION ALL SELECT bucket FROM free_take WHERE id = h.id) x
    CROSS JOIN LATERAL (SELECT bucket FROM payment_claim WHERE id = h.id
      UNION ALL SELECT bucket FROM payment_answer WHERE id = h.id) y
    GROUP BY h.id, h.account_id`;
  expect(rows).toHaveLength(600);
  for (const { id, account, buckets, claims } of rows) {
    expect(buckets).toEqual([bucketOf(account)]);
    expect(claims).toEqual([bucketOf(id)]);
  }
});

test('what waits for the receipts log waits on its lane, under its number', async () => {
  const rows = await database.sql<{ waiting: number; alike: number }[]>`
    SELECT count(*)::int AS waiting, count(*) FILTER (WHERE r.version_id = u.version_id AND u.receipt_count = 1
      AND u.bucket = 0 AND u.commitments IS NULL AND u.seq > 500)::int AS alike
    FROM receipt_unlogged u LEFT JOIN receipt r ON (r.tool_id, r.lane, r.seq) = (u.tool_id, u.lane, u.seq)`;
  expect(rows).toEqual([{ waiting: 100, alike: 100 }]);
});

test('what is logged is opened as before, in runs of what stands in the log one after another', async () => {
  const runs = await database.sql`
    SELECT bucket, lane, seq, leaf_index, receipt_count, iss, log_origin FROM receipt_commitment ORDER BY seq`;
  // As two gateways with addresses of their own sealed batches of one lane in turn.
  const alike = {
    bucket: 0,
    lane: 'lane',
    iss: 'https://then.example',
    logOrigin: 'then.example/log',
  };
  expect(runs).toEqual([
    { ...alike, seq: 401n, leafIndex: 401n, receiptCount: 20 },
    { ...alike, seq: 421n, leafIndex: 421n, receiptCount: 10, iss: 'https://other.example' },
    { ...alike, seq: 431n, leafIndex: 431n, receiptCount: 20 },
    { ...alike, seq: 451n, leafIndex: 458n, receiptCount: 50 },
  ]);
  const toolId = '00000000-0000-8000-8000-000000000001';
  for (const seq of [401n, 420n, 431n, 450n, 451n, 500n]) {
    const opening = await findOpening(database.sql, { toolId, lane: 'lane', seq });
    const salt = createHash('md5').update(String(seq)).digest();
    expect(opening).toMatchObject({
      salt,
      leafIndex: seq > 450n ? seq + 7n : seq,
      iss: 'https://then.example',
    });
  }
  for (const seq of [400n, 501n]) {
    expect(await findOpening(database.sql, { toolId, lane: 'lane', seq })).toBeUndefined();
  }
});

test('the legs of a transfer share a bucket: that of its payer, or of the transfer where there is none', async () => {
  const rows = await database.sql<{ id: string; payer: string | null; buckets: number[] }[]>`
    SELECT e.transfer_id AS id, max(p.id::text) AS payer, array_agg(DISTINCT e.bucket) AS buckets
    FROM ledger_entry e LEFT JOIN ledger_payer p ON p.id IN (e.debit_id, e.credit_id) GROUP BY e.transfer_id`;
  expect(rows).toHaveLength(621);
  for (const { id, payer, buckets } of rows) expect(buckets).toEqual([bucketOf(payer ?? id)]);
});

test('the legs of what was captured as two entries are the four they were', async () => {
  const rows = await database.sql`
    SELECT kind, count(*)::int AS count, sum(debit)::int AS debit, sum(credit)::int AS credit
    FROM ledger_leg WHERE kind IN ('share', 'fee') GROUP BY kind ORDER BY kind`;
  const alike = { count: 1_200, debit: 27_000, credit: 27_000 };
  expect(rows).toEqual([
    { kind: 'fee', ...alike },
    { kind: 'share', ...alike },
  ]);
});

test('an open batch says where its receipts are', async () => {
  const [row] = await database.sql<{ receiptIds: string[]; receiptBuckets: number[] }[]>`
    SELECT receipt_ids, receipt_buckets FROM receipt_batch`;
  const receipts = await database.sql<{ id: string; bucket: number }[]>`SELECT id, bucket FROM receipt`;
  const bucketsOf = new Map(receipts.map(({ id, bucket }) => [id, bucket]));
  expect(row?.receiptBuckets).toEqual(row?.receiptIds.map((id) => bucketsOf.get(id)));
});

test('entries are in the month they were made, none in the default partition', async () => {
  const rows = await database.sql<{ name: string; month: string }[]>`
    SELECT DISTINCT tableoid::regclass::text AS name, to_char(created_at AT TIME ZONE 'UTC', 'YYYY_MM') AS month FROM ledger_entry`;
  expect(rows.length).toBeGreaterThan(9);
  for (const { name, month } of rows) expect(name).toBe(`ledger_entry_${month}`);
});
