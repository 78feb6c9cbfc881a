import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { withTransaction } from '../../src/db/index.ts';
import { type FixedReceipt, fixWaiting } from '../../src/provenance/receipts/commitments/store.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createDraft, createTestReceipts, PAYER } from './fixtures.ts';

const RECEIPTS = 200;
const toolId = newUuid();
let database: TestDatabase;
let lane: string;

beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 24 });
  const receipts = createTestReceipts(database.sql);
  for (let at = 0; at < RECEIPTS; at++) {
    const paid = { id: newUuid(), accountId: PAYER, price: 250n, fee: 50n };
    await withTransaction(database.sql, (tx) =>
      receipts.append(tx, { ...createDraft({ toolId, rail: 'evm' }), ...paid }),
    );
  }
  const [row] = await database.sql<{ lane: string }[]>`SELECT lane FROM receipt_unlogged LIMIT 1`;
  lane = row?.lane ?? '';
});
afterAll(() => database.close());

/** All of them as one gateway would fix them, whose name is the issuer, in an order of its own. */
function fixesOf(iss: string): FixedReceipt[] {
  return Array.from({ length: RECEIPTS }, (_, at) => ({
    ...{ toolId, lane, seq: BigInt(at + 1), iss, log: 'log' },
    ...{ salt: randomBytes(16), commitment: randomBytes(32) },
  })).sort(() => Math.random() - 0.5);
}

const readFixed = () => database.sql<{ seq: bigint; iss: string | null; commitments: Buffer | null }[]>`
  SELECT seq, iss, commitments FROM receipt_unlogged ORDER BY seq`;

test('what another gateway is fixing is left to it, and waited for by nobody', async () => {
  await withTransaction(database.sql, async (other) => {
    await other`SELECT 1 FROM receipt_unlogged WHERE seq <= 10 FOR UPDATE`;
    await fixWaiting(
      database.sql,
      fixesOf('first').filter(({ seq }) => seq <= 20n),
    );
  });
  const fixed = await readFixed();
  expect(fixed.filter(({ iss }) => iss === 'first').map(({ seq }) => Number(seq))).toEqual(
    Array.from({ length: 10 }, (_, at) => at + 11),
  );
});

test('20 gateways that fix the same receipts at once stop none of each other, and each is fixed once', async () => {
  const before = new Map((await readFixed()).map(({ seq, commitments }) => [seq, commitments]));
  await Promise.all(
    Array.from({ length: 20 }, (_, at) => fixWaiting(database.sql, fixesOf(`gateway ${at}`))),
  );
  const fixed = await readFixed();
  expect(fixed).toHaveLength(RECEIPTS);
  for (const { seq, iss, commitments } of fixed) {
    expect(iss).not.toBeNull();
    const earlier = before.get(seq);
    if (earlier) expect(commitments).toEqual(earlier);
  }
});
