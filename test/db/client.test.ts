import { realpath } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(() => database.close());

describe('the database client', () => {
  test('int8 arrives as bigint, bytea as Buffer, timestamptz as Date', async () => {
    const [row] = await database.sql`
      SELECT ${9007199254740993n}::int8 AS big, ${Buffer.from([0, 255])}::bytea AS bytes,
             ${new Date(0)}::timestamptz AS at`;
    expect(row).toEqual({ big: 9007199254740993n, bytes: Buffer.from([0, 255]), at: new Date(0) });
  });

  test('columns change between camelCase and snake_case, the inside of jsonb does not', async () => {
    const { sql } = database;
    await sql`CREATE TABLE naming (id int8 PRIMARY KEY, charged_mcents int8, call_body jsonb)`;
    const body = { snake_case: 1, camelCase: { inner_one: [{ x_y: 2 }] } };
    await sql`INSERT INTO naming ${sql({ id: 1n, chargedMcents: 5n, callBody: sql.json(body) })}`;
    expect(await sql`SELECT * FROM naming`).toEqual([{ id: 1n, chargedMcents: 5n, callBody: body }]);
  });

  test('arrays of bigint, bytea and text reach unnest through sql.array, empty ones too', async () => {
    const { sql } = database;
    const rows = await sql`
      SELECT * FROM unnest(${sql.array([1n, 2n])}::bigint[], ${sql.array([Buffer.from('a'), Buffer.from('b')])}::bytea[],
                           ${sql.array(['x,"', "y'"])}::text[]) AS t(amount, key_hash, word)`;
    expect(rows).toEqual([
      { amount: 1n, keyHash: Buffer.from('a'), word: 'x,"' },
      { amount: 2n, keyHash: Buffer.from('b'), word: "y'" },
    ]);
    expect(await sql`SELECT * FROM unnest(${sql.array([])}::bigint[])`).toEqual([]);
  });

  test('a statement that runs too long is stopped', async () => {
    const bounded = openDatabase({
      url: database.url,
      poolMax: 1,
      applicationName: 't',
      statementTimeoutMs: 50,
    });
    await expect(bounded.sql`SELECT pg_sleep(30)`).rejects.toMatchObject({ code: '57014' });
    await bounded.close();
  });

  test('the same database opens over its unix socket, however it is spelled, and over loopback', async () => {
    const folder = await realpath(fileURLToPath(new URL('../../.millicent/test-pg/socket', import.meta.url)));
    const [loopback = ''] = database.url.split('?');
    const asParameter = `${loopback}?host=${encodeURIComponent(folder)}`;
    const asAuthority = loopback.replace('127.0.0.1', encodeURIComponent(folder));
    const isRemote = async (url: string) => {
      const local = openDatabase({ url, poolMax: 1, applicationName: 't' });
      const [row] = await local.sql`SELECT inet_server_port() IS NOT NULL AS remote`;
      await local.close();
      return row?.remote;
    };
    expect(await Promise.all([asParameter, asAuthority, loopback].map(isRemote))).toEqual([
      false,
      false,
      true,
    ]);
  });
});
