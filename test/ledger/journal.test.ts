import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { checkLedger, ensureEntryPartitions } from '../../src/ledger/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { openFunded } from './fixtures.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ poolMax: 20 });
});
afterEach(() => database.close());

/** Later than any month the migration made. */
const LATER = new Date('2101-11-30T23:59:59.999Z');
const MADE = ['2101_11', '2101_12', '2102_01', '2102_02'].map((month) => `ledger_entry_${month}`);

async function insertEntry(createdAt: string): Promise<string> {
  const id = newUuid();
  await database.sql`INSERT INTO ledger_entry (bucket, transfer_id, leg, kind, debit_id, credit_id, unit, amount, created_at)
    VALUES (0, ${id}, 0, 'fee', ${newUuid()}, ${newUuid()}, 'mc', 5, ${createdAt})`;
  return id;
}

/** The partition an entry is in. */
async function whereIs(id: string): Promise<string | undefined> {
  const [row] = await database.sql<{ name: string }[]>`
    SELECT tableoid::regclass::text AS name FROM ledger_entry WHERE transfer_id = ${id}`;
  return row?.name;
}

async function listPartitions(parent: string): Promise<string[]> {
  const rows = await database.sql<{ name: string }[]>`SELECT inhrelid::regclass::text AS name FROM pg_inherits
    WHERE inhparent = ${parent}::regclass ORDER BY 1`;
  return rows.map(({ name }) => name);
}

describe('the journal by month', () => {
  test('has the partitions of this month and the next three, however often and by how many gateways they are made', async () => {
    const before = await listPartitions('ledger_entry');
    const made = await Promise.all(
      Array.from({ length: 20 }, () => ensureEntryPartitions(database.sql, LATER)),
    );
    expect(made.reduce((sum, count) => sum + count, 0)).toBe(4);
    expect(await ensureEntryPartitions(database.sql, LATER)).toBe(0);
    expect(await listPartitions('ledger_entry')).toEqual([...before, ...MADE].sort());
  });

  test('puts an entry into the month (UTC) it was made in, and one without a month into the default partition', async () => {
    await ensureEntryPartitions(database.sql, LATER);
    const [last, first, never] = [
      await insertEntry('2101-12-01T00:59:59.999999+01:00'),
      await insertEntry('2101-11-30T23:00:00-01:00'),
      await insertEntry('2150-01-01T00:00:00Z'),
    ];
    expect(await whereIs(last)).toBe('ledger_entry_2101_11');
    expect(await whereIs(first)).toBe('ledger_entry_2101_12');
    expect(await whereIs(never)).toBe('ledger_entry_default');
  });

  test('carries over what came before its month had a partition, once, while others write and look', async () => {
    await openFunded(database.sql, 1_000);
    const early = await insertEntry('2101-12-24T12:00:00Z');
    const other = await insertEntry('2150-01-01T00:00:00Z');
    expect(await whereIs(early)).toBe('ledger_entry_default');
    const meanwhile = Array.from({ length: 20 }, () => openFunded(database.sql, 1_000));
    const made = await Promise.all(
      Array.from({ length: 5 }, () => ensureEntryPartitions(database.sql, LATER)),
    );
    await Promise.all(meanwhile);
    expect(made.reduce((sum, count) => sum + count, 0)).toBe(4);
    expect([await whereIs(early), await whereIs(other)]).toEqual([
      'ledger_entry_2101_12',
      'ledger_entry_default',
    ]);
    const [row] = await database.sql`SELECT count(*)::int AS count FROM ledger_entry`;
    expect(row?.count).toBe(2 + 21 * 2);
    // The two above are of accounts that nobody opened, which is all there is to find.
    const { discrepancies } = await checkLedger(database.sql);
    expect(discrepancies.filter(({ rule }) => rule !== 'unit' && rule !== 'capture')).toEqual([]);
  });
});

test.each(['ledger_entry', 'receipt'])(
  'nobody rewrites %s, by its own name or by that of any partition',
  async (table) => {
    await ensureEntryPartitions(database.sql, LATER);
    await insertEntry('2101-12-24T12:00:00Z');
    await insertEntry('2150-01-01T00:00:00Z');
    await ensureEntryPartitions(database.sql, new Date('2150-01-01T00:00:00Z'));
    const names = [table, ...(await listPartitions(table))];
    expect(names.length).toBeGreaterThan(4);
    for (const name of names) {
      for (const statement of [`UPDATE ${name} SET bucket = 1`, `DELETE FROM ${name}`, `TRUNCATE ${name}`]) {
        await expect(database.sql.unsafe(statement)).rejects.toThrow(/append-only|never rewritten/);
      }
    }
  },
);
