import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bucketOf, newUuid } from '../../src/core/ids.ts';
import { InvariantError } from '../../src/core/invariant.ts';
import { withTransaction } from '../../src/db/index.ts';
import { appendReceipt, createReceiptRider, newLane } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { type Call, chargeBatch, createCall, createDraft, PAYER } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 12 });
});
afterAll(() => database.close());

type Row = { id: string; lane: string; seq: bigint; batchId: string | null; bucket: number };

async function readTool(toolId: string): Promise<Row[]> {
  return database.sql<Row[]>`
    SELECT id, lane, seq, batch_id, bucket FROM receipt WHERE tool_id = ${toolId} ORDER BY lane, seq`;
}

/** Every lane counts 1, 2, 3, ... to what the lane's row says. */
async function expectGapless(toolId: string, rowCount: number): Promise<void> {
  const rows = await readTool(toolId);
  expect(rows).toHaveLength(rowCount);
  const lanes = await database.sql<{ lane: string; lastSeq: bigint }[]>`
    SELECT lane, last_seq FROM receipt_lane WHERE tool_id = ${toolId}`;
  for (const { lane, lastSeq } of lanes) {
    const seqs = rows.filter((row) => row.lane === lane).map(({ seq }) => Number(seq));
    expect(seqs).toEqual(Array.from({ length: Number(lastSeq) }, (_, at) => at + 1));
  }
}

describe('receipts in the statement that charges', () => {
  it('are numbered in the order of the batch, each tool for itself', async () => {
    const [a, b] = [newUuid(), newUuid()];
    const calls = [a, b, a, a, b].map((toolId) => createCall(createDraft({ toolId })));
    const rider = createReceiptRider({ lane: newLane() });
    await chargeBatch(database.sql, rider, calls);
    await chargeBatch(database.sql, rider, [createCall(createDraft({ toolId: b }))]);
    const ids = (at: number[]) => at.map((index) => calls[index]?.id);
    expect((await readTool(a)).map(({ id }) => id)).toEqual(ids([0, 2, 3]));
    expect((await readTool(b)).map(({ id }) => id).slice(0, 2)).toEqual(ids([1, 4]));
    await expectGapless(a, 3);
    await expectGapless(b, 3);
  });

  it('say exactly what the draft and the ledger said', async () => {
    const draft = createDraft({ toolName: 'quo"te\\d {tool}, NULL', paymentRef: 'a,b "c" \\d' });
    const lane = newLane();
    const call = createCall(draft, 250n);
    await chargeBatch(database.sql, createReceiptRider({ lane }), [call]);
    const [row] = await database.sql`SELECT * FROM receipt WHERE id = ${call.id}`;
    expect(row).toMatchObject({ ...draft, lane, seq: 1n, price: 250n, fee: 50n, bucket: bucketOf(PAYER) });
    expect(Math.abs(Date.now() - Number(row?.issuedAt))).toBeLessThan(5_000);
  });

  it('are in the bucket of their payer, and their batch says so', async () => {
    const toolId = newUuid();
    const calls = Array.from({ length: 100 }, () => createCall(createDraft({ toolId })));
    await chargeBatch(database.sql, createReceiptRider({ lane: newLane() }), calls);
    for (const row of await readTool(toolId)) expect(row.bucket).toBe(bucketOf(PAYER));
    const batches = await database.sql<{ receiptIds: string[]; receiptBuckets: number[] }[]>`
      SELECT receipt_ids, receipt_buckets FROM receipt_batch`;
    for (const { receiptIds, receiptBuckets } of batches) {
      expect(receiptBuckets).toEqual(receiptIds.map(() => bucketOf(PAYER)));
    }
  });

  it('are not written for free, refused or platform calls, which take no number and move no neighbour', async () => {
    const toolId = newUuid();
    const draft = () => createDraft({ toolId });
    const paid = [createCall(draft()), createCall(draft())] as const;
    const rider = createReceiptRider({ lane: newLane() });
    await chargeBatch(database.sql, rider, [
      createCall(draft(), 0n),
      paid[0],
      { ...createCall(draft()), amount: undefined },
      createCall(null),
      paid[1],
    ]);
    expect((await readTool(toolId)).map(({ id }) => id)).toEqual(paid.map(({ id }) => id));
    await expectGapless(toolId, 2);
  });

  it('open no batch when there are none', async () => {
    const count = () => database.sql`SELECT 1 FROM receipt_batch`.then((rows) => rows.length);
    const before = await count();
    const rider = createReceiptRider({ lane: newLane() });
    await chargeBatch(database.sql, rider, [createCall(createDraft(), 0n), createCall(null)]);
    await chargeBatch(database.sql, rider, []);
    expect(await count()).toBe(before);
  });

  it('open one batch a statement that lists them in order, also when the same parameters are sent twice', async () => {
    const rider = createReceiptRider({ lane: newLane() });
    const toolId = newUuid();
    const calls = Array.from({ length: 5 }, () => createCall(createDraft({ toolId })));
    await chargeBatch(database.sql, rider, calls);
    await chargeBatch(
      database.sql,
      rider,
      calls.map((call) => ({ ...call, id: newUuid() })),
    );
    const batchIds = [...new Set((await readTool(toolId)).map(({ batchId }) => batchId))];
    expect(batchIds).toHaveLength(2);
    const [first] = await database.sql`SELECT * FROM receipt_batch WHERE id = ${batchIds[0] ?? null}`;
    expect(first).toMatchObject({ leafCount: 5, receiptIds: calls.map(({ id }) => id), signedAt: null });
  });

  it('stay gapless over 50 concurrent batches on 3 lanes, some of which roll back', async () => {
    const tools = [newUuid(), newUuid(), newUuid()];
    const riders = Array.from({ length: 3 }, () => createReceiptRider({ lane: newLane() }));
    const kept = new Map<string, number>();
    const batches = Array.from({ length: 50 }, (_, at) => ({ at, isKept: at % 5 !== 0 }));
    await Promise.all(
      batches.map(async ({ at, isKept }) => {
        const calls: Call[] = Array.from({ length: 1 + (at % 7) }, (_, index) =>
          createCall(createDraft({ toolId: tools[(at + index) % 3] ?? newUuid() })),
        );
        const rider = riders[at % 3] ?? createReceiptRider({ lane: newLane() });
        const charge = withTransaction(database.sql, async (tx) => {
          await chargeBatch(tx, rider, calls);
          if (!isKept) throw new Error('the batch rolls back');
        });
        if (!isKept) return expect(charge).rejects.toThrow('the batch rolls back');
        await charge;
        for (const { draft } of calls)
          kept.set(draft?.toolId ?? '', (kept.get(draft?.toolId ?? '') ?? 0) + 1);
      }),
    );
    for (const toolId of tools) await expectGapless(toolId, kept.get(toolId) ?? 0);
  });
});

describe('the receipt of a call paid by credential', () => {
  const input = (overrides: object = {}) => ({
    ...createDraft({ rail: 'evm', payer: 'eip155:84532:0x11' }),
    id: newUuid(),
    accountId: PAYER,
    lane: newLane(),
    price: 250n,
    fee: 50n,
    ...overrides,
  });

  it('takes the next number of the lane it shares with batches, 30 at once without a gap', async () => {
    const toolId = newUuid();
    const lane = newLane();
    const rider = createReceiptRider({ lane });
    await Promise.all(
      Array.from({ length: 30 }, (_, at) =>
        at % 3 === 0
          ? chargeBatch(database.sql, rider, [createCall(createDraft({ toolId }))])
          : withTransaction(database.sql, (tx) => appendReceipt(tx, input({ toolId, lane }))),
      ),
    );
    await expectGapless(toolId, 30);
  });

  it('is written once: the same call again answers the first one and takes no number', async () => {
    const receipt = input();
    const first = await withTransaction(database.sql, (tx) => appendReceipt(tx, receipt));
    const second = await withTransaction(database.sql, (tx) =>
      appendReceipt(tx, { ...receipt, lane: newLane() }),
    );
    expect(first.seq).toBe(1n);
    expect(second).toEqual(first);
    await expectGapless(receipt.toolId, 1);
  });

  it('rolls back with the capture it belongs to', async () => {
    const receipt = input();
    await withTransaction(database.sql, async (tx) => {
      await appendReceipt(tx, receipt);
      throw new Error('the capture failed');
    }).catch(() => {});
    await withTransaction(database.sql, (tx) => appendReceipt(tx, { ...receipt, id: newUuid() }));
    await expectGapless(receipt.toolId, 1);
  });

  it('is not written for a free call', async () => {
    const attempt = withTransaction(database.sql, (tx) => appendReceipt(tx, input({ price: 0n, fee: 0n })));
    await expect(attempt).rejects.toThrow(InvariantError);
  });
});

describe('receipts', () => {
  it.each([
    ['UPDATE', 'UPDATE receipt SET price = 1'],
    ['DELETE', 'DELETE FROM receipt'],
    ['TRUNCATE', 'TRUNCATE receipt'],
    ['DELETE of a lane', 'DELETE FROM receipt_lane'],
    ['DELETE of a batch', 'DELETE FROM receipt_batch'],
    ['TRUNCATE of batches', 'TRUNCATE receipt_batch'],
  ])('are never rewritten: the database refuses %s', async (_, statement) => {
    await chargeBatch(database.sql, createReceiptRider({ lane: newLane() }), [createCall()]);
    await expect(database.sql.unsafe(statement)).rejects.toThrow(/never rewritten/);
  });
});
