import { afterEach, beforeEach, expect, test } from 'vitest';
import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { checkLedger, checkRunning } from '../../src/ledger/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, newCharger, openFunded, receiptDraft, type TestCharger } from './fixtures.ts';

let database: TestDatabase;
let charger: TestCharger;
let accountId: Uuid;
beforeEach(async () => {
  database = await createTestDatabase({ poolMax: 20 });
  charger = newCharger(database.sql);
  accountId = await openFunded(database.sql, 1_000_000);
});
afterEach(() => database.close());

/** Everything but what is being written at this moment is added up, and nobody is told to come later. */
const EAGER = { settledAfterMs: 0, everyMs: -60_000 };
const check = (options: object = {}) => checkRunning(database.sql, { ...EAGER, ...options });
const FINE = { discrepancies: [] };

async function charge(count: number): Promise<Uuid[]> {
  const requests = Array.from({ length: count }, () => holdRequest(accountId, 10));
  await Promise.all(requests.map((request) => charger.charge(request, receiptDraft(request.id))));
  return requests.map(({ id }) => id);
}

const isProven = async () => {
  const [row] = await database.sql<{ isSame: boolean }[]>`
    WITH j AS (SELECT account_id, unit, sum(signed) AS balance FROM ledger_leg GROUP BY account_id, unit)
    SELECT NOT EXISTS (SELECT FROM j FULL JOIN ledger_verified v USING (account_id, unit)
      WHERE j.balance IS DISTINCT FROM v.balance) AS is_same`;
  return row?.isSame;
};

test('after the first full look only what came since is added up, to the same sums', async () => {
  await charge(50);
  expect(await check()).toEqual({ kind: 'full', ...FINE });
  for (let round = 0; round < 3; round += 1) {
    await charge(20);
    expect(await check()).toEqual({ kind: 'recent', ...FINE });
  }
  expect(await isProven()).toBe(true);
});

test('twenty at once add up once, while charges go on', async () => {
  await check();
  const charging = Array.from({ length: 20 }, () => charge(10));
  const checks = await Promise.all(Array.from({ length: 20 }, () => check()));
  await Promise.all(charging);
  for (const { kind } of checks) expect(['recent', 'full', 'elsewhere']).toContain(kind);
  expect(checks.flatMap((each) => (each.kind === 'elsewhere' ? [] : each.discrepancies))).toEqual([]);
  expect(await check()).toMatchObject(FINE);
  expect((await checkLedger(database.sql)).isBalanced).toBe(true);
});

test('a gateway that comes soon after another has nothing to do', async () => {
  await check();
  expect(await checkRunning(database.sql)).toEqual({ kind: 'elsewhere' });
});

test('an entry that was committed after its time had been added up is no alarm, and is added up from then on', async () => {
  await charge(1);
  await check();
  const [id] = await charge(1);
  const connection = await database.sql.reserve();
  await connection`BEGIN`;
  await connection`SELECT now()`;
  await charge(3);
  expect(await check()).toEqual({ kind: 'recent', ...FINE });
  await connection`INSERT INTO ledger_entry (bucket, transfer_id, leg, kind, debit_id, credit_id, unit, amount)
    SELECT bucket, ${newUuid()}, 0, 'refund', credit_id, debit_id, unit, amount FROM ledger_entry
    WHERE transfer_id = ${id ?? ''} LIMIT 1`;
  await connection`UPDATE ledger_payer SET balance = balance + (SELECT amount FROM ledger_entry
    WHERE transfer_id = ${id ?? ''} LIMIT 1) WHERE id = ${accountId}`;
  await connection`COMMIT`;
  connection.release();
  expect(await check()).toEqual({ kind: 'full', ...FINE });
  expect(await isProven()).toBe(true);
  expect(await check()).toEqual({ kind: 'recent', ...FINE });
});

const WRONGS: [string, string, (id: Uuid) => Promise<unknown>][] = [
  [
    'a stored balance',
    'payer-balance',
    () => database.sql`UPDATE ledger_payer SET balance = balance + 1 WHERE id = ${accountId}`,
  ],
  [
    'a stored hold',
    'payer-held',
    () => database.sql`UPDATE ledger_payer SET held = 1 WHERE id = ${accountId}`,
  ],
  [
    'a capture of another amount',
    'capture',
    (id) => database.sql`UPDATE ledger_hold SET amount = amount + 1 WHERE id = ${id}`,
  ],
  [
    'a capture of another fee',
    'capture',
    (id) => database.sql`UPDATE ledger_hold SET fee = fee + 1 WHERE id = ${id}`,
  ],
  [
    'a capture for another publisher',
    'capture',
    (id) => database.sql`UPDATE ledger_hold SET payee_id = ${newUuid()} WHERE id = ${id}`,
  ],
  [
    'a captured hold without entries',
    'capture',
    () => database.sql`INSERT INTO ledger_hold (bucket, id, account_id, payee_id, label, amount, fee, backing, state,
      expires_at, closed_at) SELECT bucket, ${newUuid()}, account_id, payee_id, label, amount, fee, backing, state,
      expires_at, now() FROM ledger_hold LIMIT 1`,
  ],
  [
    'an entry of an unknown account',
    'unit',
    () => database.sql`INSERT INTO ledger_entry (bucket, transfer_id, leg, kind, debit_id, credit_id, unit, amount)
      VALUES (0, ${newUuid()}, 0, 'fx', ${newUuid()}, ${newUuid()}, 'wei', 1)`,
  ],
];

test.each(WRONGS)('%s is found among what came since, and stays found', async (_what, rule, wrong) => {
  await charge(5);
  await check();
  const [id] = await charge(5);
  await wrong(id ?? '');
  for (let round = 0; round < 2; round += 1) {
    const found = await check();
    expect(found).toMatchObject({ kind: 'full' });
    const rules = found.kind === 'elsewhere' ? [] : found.discrepancies.map((each) => each.rule);
    expect(rules).toContain(rule);
  }
});

test('what was changed among entries that were added up long ago is found by the full look', async () => {
  await charge(5);
  const [id] = await charge(1);
  await check();
  await database.sql`UPDATE ledger_hold SET amount = amount + 1 WHERE id = ${id ?? ''}`;
  // Its entries are from before the mark: only adding everything up anew can tell.
  expect(await check()).toEqual({ kind: 'recent', ...FINE });
  const found = await check({ fullEveryMs: -60_000 });
  expect(found).toMatchObject({ kind: 'full', discrepancies: [{ rule: 'capture', subject: id }] });
});
