import { randomUUID } from 'node:crypto';
import { inject } from 'vitest';
import { openDatabase, type Sql } from '../../src/db/index.ts';
import { waitUntil } from './process.ts';
import { addressOf, administer, dropDatabase } from './server.ts';

export type TestDatabase = { url: string; sql: Sql; close(): Promise<void> };

export type TestDatabaseOptions = {
  /** How many connections `sql` may open; 10 when left out. */
  poolMax?: number;
  /** Without the project's tables. */
  isEmpty?: boolean;
};

/** A fresh, migrated database of one's own on the server that the whole test run shares. */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const { serverUrl, template } = inject('testDatabase');
  const name = `${template}_${randomUUID().slice(0, 8)}`;
  const source = options.isEmpty ? 'template1' : template;
  await administer(serverUrl, (sql) => sql`CREATE DATABASE ${sql(name)} TEMPLATE ${sql(source)}`);
  const url = addressOf(serverUrl, name);
  const database = openDatabase({ url, poolMax: options.poolMax ?? 10, applicationName: 'millicent-test' });
  return {
    url,
    sql: database.sql,
    close: async () => {
      await database.close();
      await administer(serverUrl, (sql) => dropDatabase(sql, name));
    },
  };
}

/** Hangs up on everybody and lets nobody in, as a server does that is not there; the answer lets them in again. */
export async function loseDatabase(database: TestDatabase): Promise<() => Promise<void>> {
  const name = new URL(database.url).pathname.slice(1);
  const address = new URL(database.url);
  address.pathname = '/postgres';
  const operator = openDatabase({ url: address.href, poolMax: 1, applicationName: 'operator' });
  const { sql } = operator;
  await sql`ALTER DATABASE ${sql(name)} ALLOW_CONNECTIONS false`;
  await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${name}`;
  return async () => {
    await sql`ALTER DATABASE ${sql(name)} ALLOW_CONNECTIONS true`;
    await operator.close();
    await waitUntil(() => database.sql`SELECT 1`.then(() => true).catch(() => false));
  };
}
