import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isDatabaseLost } from '../../src/core/database-lost.ts';
import { isAnswering, openDatabase } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { waitUntil } from '../harness/process.ts';
import { openDatabaseDoor } from '../torture/world/database-door.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

/** Longer than it takes to suspect, to ask and to ask again. */
const GIVEN_UP_MS = 25_000;

/** A pool behind a line of its own, connected. */
async function openLine() {
  const door = await openDatabaseDoor(database.url);
  const pool = openDatabase({ url: door.url, poolMax: 1, applicationName: 'silence', endsSilence: true });
  await pool.sql`SELECT 1`;
  const close = async () => {
    door.decide(() => 'pass');
    await pool.close();
    await door.close();
  };
  return { door, sql: pool.sql, close };
}

async function giveUp(work: Promise<unknown>): Promise<unknown> {
  const startedAt = performance.now();
  const cause = await work.catch((error: unknown) => error);
  expect(performance.now() - startedAt).toBeLessThan(GIVEN_UP_MS);
  return cause;
}

describe.concurrent('a connection on which nothing is heard', () => {
  test('is given up when the database says nothing to anybody, and the pool works once it does', async () => {
    const { door, sql, close } = await openLine();
    door.decide(() => 'hold');
    expect(isDatabaseLost(await giveUp(sql`SELECT 2`))).toBe(true);
    door.decide(() => 'pass');
    expect(await waitUntil(() => isAnswering(sql))).toBe(true);
    await close();
  });

  test('is given up in the middle of a transaction, which sends nothing more', async () => {
    const { door, sql, close } = await openLine();
    const sent: string[] = [];
    const work = sql.begin(async (tx) => {
      await tx`SELECT 1`;
      door.decide(() => 'hold');
      await tx`SELECT 2`;
      sent.push('more');
    });
    expect(isDatabaseLost(await giveUp(work))).toBe(true);
    expect(sent).toEqual([]);
    await close();
  });

  test('is given up when the database speaks to others, and knows of no work for it', async () => {
    const { door, sql, close } = await openLine();
    door.decide((connection) => (connection === 0 ? 'hold' : 'pass'));
    expect(isDatabaseLost(await giveUp(sql`SELECT 2`))).toBe(true);
    expect(await waitUntil(() => isAnswering(sql))).toBe(true);
    await close();
  });

  test('is left alone while its statement is at work, however long', async () => {
    const { sql, close } = await openLine();
    expect(await sql`SELECT 4 AS four, pg_sleep(14)::text AS slept`).toEqual([{ four: 4, slept: '' }]);
    await close();
  });

  test('does not keep whoever asks whether the database answers', async () => {
    const { door, sql, close } = await openLine();
    expect(await isAnswering(sql)).toBe(true);
    door.decide(() => 'hold');
    expect(await isAnswering(sql)).toBe(false);
    await close();
  });
});
