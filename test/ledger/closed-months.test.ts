import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Uuid } from '../../src/core/ids.ts';
import type { Sql } from '../../src/db/index.ts';
import { checkLedger, checkRunning } from '../../src/ledger/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, newCharger, openFunded, receiptDraft } from './fixtures.ts';

let database: TestDatabase;
let accountId: Uuid;

beforeEach(async () => {
  database = await createTestDatabase();
  accountId = await openFunded(database.sql, 10_000);
});
afterEach(() => database.close());

const EAGER = { settledAfterMs: 0, everyMs: -60_000 };

async function again(sql: Sql) {
  const check = await checkRunning(sql, { ...EAGER, fullEveryMs: -60_000 });
  return check.kind === 'elsewhere' ? { discrepancies: [] } : check;
}

async function charge(): Promise<void> {
  const request = holdRequest(accountId, 10);
  expect(await newCharger(database.sql).charge(request, receiptDraft(request.id))).toMatchObject({
    kind: 'held',
  });
}

/** The month the entries of today are in, as OPERATIONS.md, "Closed months" names it. */
async function findMonth(): Promise<string> {
  const [row] = await database.sql<
    { name: string }[]
  >`SELECT tableoid::regclass::text AS name FROM ledger_entry LIMIT 1`;
  return row?.name ?? '';
}

test('the check says what a month that was taken away leaves unproven', async () => {
  const { sql } = database;
  await charge();
  await checkRunning(sql, EAGER);
  const month = await findMonth();
  await sql`ALTER TABLE ledger_entry DETACH PARTITION ${sql(month)}`;
  for (const { discrepancies } of [await checkLedger(sql), await again(sql)]) {
    const rules = new Set(discrepancies.map(({ rule }) => rule));
    expect(rules).toContain('payer-balance');
    expect(rules).toContain('capture');
  }
});
