import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase, type Sql } from '../../src/db/index.ts';

/** Sends what `work` sends to the server's own database, from which the others are made and dropped. */
export async function administer<T>(serverUrl: string, work: (sql: Sql) => PromiseLike<T>): Promise<T> {
  const admin = openDatabase({ url: serverUrl, poolMax: 1, applicationName: 'millicent-test-admin' });
  try {
    return await work(admin.sql);
  } finally {
    await admin.close();
  }
}

/** The address of another database on the same server. */
export function addressOf(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

const DROP_TRIES_MAX = 20;
const DROP_PAUSE_MS = 250;

/** Drops a database and ends who is in it; an autovacuum worker, which nobody else may end, is waited for. */
export async function dropDatabase(sql: Sql, name: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await sql`DROP DATABASE IF EXISTS ${sql(name)} WITH (FORCE)`;
      return;
    } catch (cause) {
      const isForbidden = cause instanceof Error && 'code' in cause && cause.code === '42501';
      if (!isForbidden || tries === DROP_TRIES_MAX) throw cause;
      await sleep(DROP_PAUSE_MS);
    }
  }
}
