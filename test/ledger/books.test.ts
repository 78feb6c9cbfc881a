import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newUuid, type Uuid, uuidFrom } from '../../src/core/ids.ts';
import { millicents } from '../../src/core/money.ts';
import { withTransaction } from '../../src/db/index.ts';
import { checkLedger, createLedger, FEE_BPS, feeOf } from '../../src/ledger/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, newCharger, openFunded, receiptDraft } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

test('the database refuses to update, delete or truncate entries', async () => {
  await openFunded(database.sql, 100);
  const attempts = [
    database.sql`UPDATE ledger_entry SET amount = 1`,
    database.sql`DELETE FROM ledger_entry`,
    database.sql`TRUNCATE ledger_entry`,
    database.sql`DELETE FROM ledger_external`,
  ];
  for (const attempt of attempts) await expect(attempt).rejects.toThrow(/append-only/);
});

test('the same arrival is booked once, however often it is reported', async () => {
  const ledger = createLedger({ sql: database.sql });
  const accountId = newUuid();
  await withTransaction(database.sql, (tx) => ledger.openPayer(tx, accountId));
  const funding = {
    ...{ rail: 'evm', reference: newUuid(), unit: 'eip155:1/erc20:0x0', units: 1_000n },
    ...{
      amount: millicents(100),
      accountId,
      costs: [{ account: 'A.gas:1', expense: 'E.gas:1', unit: 'wei', units: 7n }],
    },
  };
  const booked = await Promise.all(
    Array.from({ length: 20 }, () => withTransaction(database.sql, (tx) => ledger.fund(tx, funding))),
  );
  expect(booked.filter(Boolean)).toHaveLength(1);
  expect(await ledger.balance(accountId)).toMatchObject({ balance: 100n });
});

test('the check names a balance, a hold and a capture that the entries do not prove', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const charger = newCharger(database.sql);
  const request = holdRequest(accountId, 100);
  await charger.charge(request, receiptDraft(request.id));
  expect((await checkLedger(database.sql)).isBalanced).toBe(true);
  await database.sql`UPDATE ledger_payer SET balance = balance + 1, held = 1 WHERE id = ${accountId}`;
  await database.sql`UPDATE ledger_hold SET amount = amount + 1 WHERE id = ${request.id}`;
  const report = await checkLedger(database.sql);
  expect(report.isBalanced).toBe(false);
  expect(report.discrepancies.map(({ rule }) => rule).sort()).toEqual([
    'capture',
    'payer-balance',
    'payer-held',
  ]);
  await database.sql`UPDATE ledger_payer SET balance = balance - 1, held = 0 WHERE id = ${accountId}`;
  await database.sql`UPDATE ledger_hold SET amount = amount - 1 WHERE id = ${request.id}`;
});

const SPLITS = [
  ['the price is split', 100n, 20n],
  ['all of it is the share', 100n, 0n],
  ['all of it is the fee', 1n, 1n],
] as const;

test.each(SPLITS)('a capture is one entry where %s, on every way', async (_where, amount, fee) => {
  const { sql } = database;
  const accountId = await openFunded(sql, 1_000);
  const ledger = createLedger({ sql });
  const charger = newCharger(sql);
  const requests = Array.from({ length: 5 }, () => ({
    ...holdRequest(accountId, 1),
    ...{ amount: millicents(amount), fee: millicents(fee) },
  }));
  const [alone, first, second, held, byHand] = requests;
  if (!alone || !first || !second || !held || !byHand) throw new Error('five are asked for');
  await charger.charge(alone, receiptDraft(alone.id));
  await Promise.all([first, second].map((request) => charger.charge(request, receiptDraft(request.id))));
  await charger.hold(held);
  await charger.capture(held, receiptDraft(held.id));
  await charger.hold(byHand);
  await withTransaction(sql, (tx) => ledger.capture(tx, byHand.id, 0));
  const legsOf = (id: Uuid) => sql<{ name: string; signed: bigint }[]>`
    SELECT split_part(a.name, ':', 1) AS name, l.signed FROM ledger_leg l JOIN ledger_account a ON a.id = l.account_id
    WHERE l.transfer_id = ${id} ORDER BY l.signed, name`;
  for (const { id } of requests) {
    expect(await sql`SELECT FROM ledger_entry WHERE transfer_id = ${id}`).toHaveLength(1);
    const legs = await legsOf(id);
    expect(legs).toHaveLength(amount > fee && fee > 0n ? 3 : 2);
    const credited = (name: string) => legs.find((leg) => leg.name === name)?.signed ?? 0n;
    expect([credited('L.payer'), credited('L.pub'), credited('I.fee')]).toEqual([-amount, amount - fee, fee]);
  }
  expect((await checkLedger(sql)).isBalanced).toBe(true);
});

test('the legs of every transfer sum to zero in each unit, by SQL alone', async () => {
  const wrong = await database.sql`SELECT transfer_id, unit FROM ledger_leg
    GROUP BY transfer_id, unit HAVING sum(signed) <> 0`;
  expect(wrong).toEqual([]);
});

test('the split loses and makes nothing, is the same every time, and is right on average', () => {
  fc.assert(
    fc.property(
      fc.bigInt(0n, 10_000_000n),
      fc.uuid(),
      fc.constantFrom('hosted', 'self-hosted', 'platform'),
      (price, id, tier) => {
        const fee = feeOf(millicents(price), tier, id);
        const exact = (price * BigInt(FEE_BPS[tier])) / 10_000n;
        expect(fee === exact || fee === exact + 1n).toBe(true);
        expect(fee <= price).toBe(true);
        expect(feeOf(millicents(price), tier, id)).toBe(fee);
      },
    ),
  );
  const fees = Array.from({ length: 10_000 }, (_, index) =>
    feeOf(millicents(1), 'hosted', uuidFrom('call', String(index))),
  );
  const total = Number(fees.reduce<bigint>((sum, fee) => sum + fee, 0n));
  expect(total).toBeGreaterThan(1_850);
  expect(total).toBeLessThan(2_150);
});
