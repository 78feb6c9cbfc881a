import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase } from '../../src/db/index.ts';
import { keyGuard } from '../../src/keys/index.ts';
import { cappedCloseStatement, cappedStatement } from '../../src/ledger/charge/capped/store.ts';
import { batchStatement, closeStatement, singleStatement } from '../../src/ledger/charge/store.ts';
import { wholeStatement } from '../../src/ledger/charge/whole/store.ts';
import { CHARGE_SETTINGS } from '../../src/ledger/index.ts';
import { createReceiptRider } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

/** What a call, its payment and its answer write. */
const TABLES = [
  ...['ledger_payer', 'ledger_hold', 'ledger_entry', 'ledger_cap', 'free_counter', 'free_take'],
  ...['receipt', 'receipt_batch', 'receipt_lane', 'receipt_unlogged', 'receipt_commitment'],
  ...['payment_claim', 'payment_answer', 'api_key'],
];
/** Small, read by every charge and written by none: replicated whole to every node. `api_key` says why. */
const REFERENCE_TABLES = ['api_key'];
/**
 * Triggers that may fire on an INSERT or UPDATE of those tables. Statement triggers which refuse every UPDATE are
 * not in the way of what only inserts. A batch is updated once, by its seal, after the call was answered: the
 * condition of its row trigger is false then.
 */
const UPDATE_GUARDS = ['ledger_entry', 'receipt', 'receipt_commitment'].map(
  (table) => `${table}_append_only`,
);
const ROW_GUARDS = ['receipt_batch_sealed_once'];

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

/** The tables of the hot path and their partitions. */
const hotTables =
  () => database.sql`(SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
  AND (relname = ANY(${TABLES}) OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent::regclass::text = ANY(${TABLES}))))`;

describe('tables of the hot path', () => {
  test('are all there, and carry their bucket in every unique key, or are reference tables', async () => {
    const rows = await database.sql<{ table: string; index: string; hasBucket: boolean }[]>`
      SELECT c.relname AS table, i.indexrelid::regclass::text AS index,
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY(i.indkey) AND a.attname = 'bucket') AS has_bucket
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE i.indisunique AND c.relname = ANY(${TABLES})`;
    expect(new Set(rows.map(({ table }) => table))).toEqual(new Set(TABLES));
    const without = rows.filter(({ table, hasBucket }) => !hasBucket && !REFERENCE_TABLES.includes(table));
    expect(without).toEqual([]);
  });

  test('lead their keys with what rows are looked for by, and not with the bucket', async () => {
    const rows = await database.sql`
      SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      WHERE i.indrelid IN ${hotTables()} AND a.attname = 'bucket'`;
    expect(rows).toHaveLength(0);
  });

  test('have no trigger that fires on what the hot path does', async () => {
    const rows = await database.sql<{ name: string; isRow: boolean; type: number }[]>`
      SELECT tgname AS name, (tgtype & 1) = 1 AS is_row, tgtype::int AS type FROM pg_trigger WHERE tgrelid IN ${hotTables()}`;
    expect(rows.length).toBeGreaterThan(0);
    for (const { name, isRow, type } of rows) {
      const [isInsert, isUpdate] = [(type & 4) !== 0, (type & 16) !== 0];
      expect(isInsert, name).toBe(false);
      if (isUpdate) expect(isRow ? ROW_GUARDS : UPDATE_GUARDS).toContain(name);
    }
  });

  test('have no foreign key, no deferrable constraint, no rule, no serial and no identity', async () => {
    const constraints = await database.sql`
      SELECT conname FROM pg_constraint WHERE conrelid IN ${hotTables()} AND (contype = 'f' OR condeferrable)`;
    const rules = await database.sql`SELECT rulename FROM pg_rewrite WHERE ev_class IN ${hotTables()}`;
    const columns = await database.sql`
      SELECT a.attrelid::regclass, a.attname FROM pg_attribute a
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid IN ${hotTables()} AND a.attnum > 0
        AND (a.attidentity <> '' OR a.attgenerated <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval%')`;
    expect([...constraints, ...rules, ...columns]).toEqual([]);
  });
});

const readParameters = (text: string) => [...text.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number));

describe('statements of the hot path', () => {
  const parts = { guard: keyGuard, rider: createReceiptRider({ lane: 'lane' }) };
  const FORBIDDEN = /\b(?:pg_(?:try_)?advisory\w*|listen|notify|pg_notify|lock\s+table|nextval|deferred)\b/i;
  const charges = [parts, { ...parts, isCut: true }].flatMap((given) => [
    ...(['hold', 'charge'] as const).flatMap((mode) => [
      ...[batchStatement(mode, given, 'fail'), batchStatement(mode, given, 'skip')],
      ...[singleStatement(mode, given), wholeStatement(mode, given)],
      cappedStatement(mode, given),
    ]),
    ...(['captured', 'released'] as const).flatMap((state) => [
      ...[closeStatement(state, given), cappedCloseStatement(state, given)],
    ]),
  ]);

  test('take no advisory lock, lock no table, notify nobody and draw from no sequence', async () => {
    expect(charges).toHaveLength(28);
    const stores = [
      'ledger/store.ts',
      'ledger/cap/store.ts',
      'payments/store.ts',
      'payments/answer/store.ts',
    ];
    const others = [...stores, 'keys/store.ts', 'keys/allowance/store.ts', 'provenance/receipts/store.ts'];
    const texts = await Promise.all(
      others.map((path) => readFile(resolve(import.meta.dirname, '../../src', path), 'utf8')),
    );
    for (const text of [...charges, ...texts]) expect(FORBIDDEN.exec(text)?.[0]).toBeUndefined();
    expect(FORBIDDEN.test('SELECT pg_advisory_xact_lock(1)')).toBe(true);
  });

  test('find their rows by key and never read a whole table, also when planned while it is empty', async () => {
    // Statistics that say so make a table look even smaller than none do.
    await database.sql`VACUUM ANALYZE ${database.sql(TABLES)}`;
    const charging = openDatabase({
      ...{ url: database.url, poolMax: 1, applicationName: 'plans', settings: CHARGE_SETTINGS },
    });
    try {
      for (const [index, text] of charges.entries()) {
        const nulls = Array.from({ length: Math.max(...readParameters(text)) }, () => 'NULL').join(', ');
        await charging.sql.unsafe(`PREPARE hot_${index} AS ${text}`);
        const rows = await charging.sql.unsafe<{ 'QUERY PLAN': string }[]>(
          `EXPLAIN EXECUTE hot_${index}(${nulls})`,
        );
        const plan = rows.map((row) => Object.values(row).join('')).join('\n');
        expect(plan).toContain('ledger_payer');
        expect(plan).not.toMatch(/Seq Scan/);
      }
    } finally {
      await charging.close();
    }
  });

  test('change each table at most once', () => {
    for (const text of charges) {
      const changed = [...text.matchAll(/(?:INSERT INTO|UPDATE(?! SET)|DELETE FROM) ([a-z_]+)/g)].map(
        ([, table]) => table,
      );
      expect(changed.length).toBeGreaterThan(1);
      expect(new Set(changed).size).toBe(changed.length);
    }
  });
});
