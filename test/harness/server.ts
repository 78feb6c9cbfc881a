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
