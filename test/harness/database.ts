import { randomUUID } from 'node:crypto';
import { inject } from 'vitest';
import { openDatabase, type Sql } from '../../src/db/index.ts';
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
