import { z } from 'zod';
import { openDatabase } from '../../src/db/index.ts';
import type { TestProcess } from './process.ts';

/** The address that `hold-postgres.ts` says once its server is ready. */
export async function readUrl(holder: TestProcess): Promise<string> {
  return z.object({ url: z.string() }).parse(await holder.nextLine()).url;
}

/** 1, when there is a server. */
export async function ask(url: string | undefined): Promise<unknown> {
  const [row] = await run(url ?? '', 'SELECT 1 AS one');
  return row?.one;
}

/** Sends one text of statements over a connection of its own. */
export async function run(url: string, statements: string) {
  const database = openDatabase({ url, poolMax: 1, applicationName: 'test' });
  try {
    return await database.sql.unsafe(statements);
  } finally {
    await database.close();
  }
}
