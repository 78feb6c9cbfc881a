import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { millicents } from '../../src/core/money.ts';
import { withTransaction } from '../../src/db/index.ts';
import { keyGuard } from '../../src/keys/index.ts';
import { createCharger, createLedger, feeOf, type HoldRequest } from '../../src/ledger/index.ts';
import { verifyBatchProof } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createDraft, createSigner, createTestReceipts } from './fixtures.ts';

const PAYEE = newUuid();
const TOOLS = [newUuid(), newUuid(), newUuid()];

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

function createGateway() {
  const signer = createSigner();
  const receipts = createTestReceipts(database.sql, { signer });
  const parts = { guard: keyGuard, rider: receipts.rider };
  return { signer, receipts, charger: createCharger({ sql: database.sql, parts }) };
}

async function openPayer(balance: number): Promise<Uuid> {
  const ledger = createLedger({ sql: database.sql });
  const accountId = newUuid();
  await withTransaction(database.sql, async (tx) => {
    await ledger.openPlatform(tx);
    await ledger.openPublisher(tx, PAYEE);
    await ledger.openPayer(tx, accountId);
    await ledger.promote(tx, { id: newUuid(), accountId, amount: millicents(balance) });
  });
  return accountId;
}

/** Call number `at` costs `at + 1` and is of one of three tools, so that any mix-up shows. */
function createPaidCall(accountId: Uuid, at: number) {
  const id = newUuid();
  const amount = millicents(at + 1);
  const request: HoldRequest = {
    id,
    accountId,
    keyId: undefined,
    payeeId: PAYEE,
    subject: undefined,
    label: 'test',
    amount,
    fee: feeOf(amount, 'hosted', id),
    lifetimeMs: 60_000,
  };
  return { request, draft: createDraft({ toolId: TOOLS[at % 3] ?? PAYEE, paymentRef: id }) };
}

async function readReceipt(id: Uuid) {
  const [row] = await database.sql`SELECT * FROM receipt WHERE id = ${id}`;
  return row;
}

describe('receipts under the real charge statement', () => {
  it.each(['charged at once', 'held and captured'])(
    'are of exactly the calls %s, each with its own facts',
    async (way) => {
      const { charger, receipts, signer } = createGateway();
      const accountId = await openPayer(600);
      const calls = Array.from({ length: 60 }, (_, at) => createPaidCall(accountId, at));
      const results = await Promise.all(
        calls.map(async ({ request, draft }) => {
          if (way === 'charged at once') return charger.charge(request, draft);
          const hold = await charger.hold(request);
          if (hold.kind === 'held') await charger.capture(request, draft);
          return hold;
        }),
      );
      const taken = calls.filter((_, at) => results[at]?.kind === 'held');
      expect(taken.length).toBeGreaterThan(0);
      expect(taken.length).toBeLessThan(calls.length);
      await receipts.sealOpenBatches();
      for (const [at, { request, draft }] of calls.entries()) {
        const row = await readReceipt(request.id);
        if (results[at]?.kind !== 'held') {
          expect(row).toBeUndefined();
          continue;
        }
        expect(row).toMatchObject({ ...draft, price: request.amount, fee: request.fee });
        const receipt = await receipts.getReceipt(request.id);
        if (!receipt?.batch) throw new Error(`receipt ${request.id} is not sealed`);
        expect((await verifyBatchProof(receipt.payload, receipt.batch, signer.jwks())).kind).toBe('valid');
      }
    },
  );

  it('are written once when a call is charged again under its id', async () => {
    const { charger } = createGateway();
    const accountId = await openPayer(100);
    const { request, draft } = createPaidCall(accountId, 0);
    const results = await Promise.all(Array.from({ length: 20 }, () => charger.charge(request, draft)));
    expect(new Set(results.map(({ kind }) => kind))).toEqual(new Set(['held']));
    const rows = await database.sql`SELECT 1 FROM receipt WHERE id = ${request.id}`;
    expect(rows).toHaveLength(1);
  });

  it('stay gapless over three gateways and three tools at once', async () => {
    const gateways = [createGateway(), createGateway(), createGateway()];
    const accountId = await openPayer(100_000);
    await Promise.all(
      gateways.flatMap(({ charger }) =>
        Array.from({ length: 60 }, (_, at) => {
          const { request, draft } = createPaidCall(accountId, at);
          return charger.charge(request, draft);
        }),
      ),
    );
    const lanes = await database.sql<{ rows: bigint; first: bigint; last: bigint; lastSeq: bigint }[]>`
      SELECT count(*) AS rows, min(r.seq) AS first, max(r.seq) AS last, l.last_seq
      FROM receipt_lane l JOIN receipt r USING (tool_id, lane) GROUP BY l.tool_id, l.lane, l.last_seq`;
    expect(lanes.length).toBeGreaterThanOrEqual(9);
    for (const { rows, first, last, lastSeq } of lanes) {
      expect({ first, last, lastSeq }).toEqual({ first: 1n, last: rows, lastSeq: rows });
    }
  });
});
