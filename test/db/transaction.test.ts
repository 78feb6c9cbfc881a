import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inTransaction, openDatabase, type Tx, withTransaction } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.sql`CREATE TABLE tally (id int PRIMARY KEY, count int8 NOT NULL)`;
  await database.sql`INSERT INTO tally VALUES (1, 0), (2, 0)`;
});

afterAll(() => database.close());

describe('withTransaction', () => {
  test('what a throwing transaction did is undone', async () => {
    const work = withTransaction(database.sql, async (tx) => {
      await tx`INSERT INTO tally VALUES (3, 1)`;
      throw new Error('changed my mind');
    });
    await expect(work).rejects.toThrow('changed my mind');
    expect(await database.sql`SELECT * FROM tally WHERE id = 3`).toEqual([]);
  });

  test('transactions that deadlock all commit, each exactly once', async () => {
    let arrived = 0;
    let open: () => void = () => {};
    const bothHoldOne = new Promise<void>((resolve) => {
      open = resolve;
    });
    const add = (first: number, second: number) =>
      withTransaction(database.sql, async (tx) => {
        await tx`UPDATE tally SET count = count + 1 WHERE id = ${first}`;
        arrived += 1;
        if (arrived === 2) open();
        await bothHoldOne;
        await tx`UPDATE tally SET count = count + 1 WHERE id = ${second}`;
      });
    await Promise.all([add(1, 2), add(2, 1)]);
    expect(await database.sql`SELECT count FROM tally WHERE id IN (1, 2)`).toEqual([
      { count: 2n },
      { count: 2n },
    ]);
  });

  test('a serialization failure runs the work again', async () => {
    let runs = 0;
    const answer = await withTransaction(database.sql, async (tx) => {
      runs += 1;
      if (runs < 3) await tx`DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$`;
      return 'done';
    });
    expect({ runs, answer }).toEqual({ runs: 3, answer: 'done' });
  });

  test('a conflict that never ends is given up after six runs', async () => {
    let runs = 0;
    const work = withTransaction(database.sql, async (tx) => {
      runs += 1;
      await tx`DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$`;
    });
    await expect(work).rejects.toMatchObject({ code: '40001' });
    expect(runs).toBe(6);
  });
});

describe('a connection that breaks inside a transaction', () => {
  const breaks = (how: string) => (cause: unknown) => {
    throw how === 'wrapped' ? new Error('it broke', { cause }) : cause;
  };

  test.each(['plain', 'wrapped'])(
    'undoes it, and ends neither the process nor its place in the pool (%s error)',
    async (how) => {
      const pool = openDatabase({ url: database.url, poolMax: 1, applicationName: 'breaks' });
      const work = withTransaction(pool.sql, async (tx) => {
        await tx`UPDATE tally SET count = count + 100 WHERE id = 1`;
        await tx`SELECT pg_terminate_backend(pg_backend_pid()), ${1}::int`.catch(breaks(how));
      });
      await expect(work).rejects.toThrow();
      const count = await withTransaction(pool.sql, (tx) => tx`SELECT count FROM tally WHERE id = ${1}`);
      expect(count).toEqual([{ count: 2n }]);
      await pool.close();
    },
  );

  test('is sent no ROLLBACK later, which would undo the next transaction in its place', async () => {
    const pool = openDatabase({ url: database.url, poolMax: 1, applicationName: 'breaks' });
    const work = withTransaction(pool.sql, async (tx) => {
      await tx`SELECT pg_terminate_backend(pg_backend_pid()), ${1}::int`;
    });
    await expect(work).rejects.toThrow();
    // A late ROLLBACK would undo what its successor, on the same place in the pool, has done.
    await withTransaction(pool.sql, async (tx) => {
      await tx`INSERT INTO tally VALUES (4, 1)`;
      await tx`SELECT pg_sleep(1.5)`;
    });
    await pool.close();
    expect(await database.sql`SELECT id FROM tally WHERE id = 4`).toEqual([{ id: 4 }]);
  });

  test.each([
    ['another statement', (tx: Tx) => tx`INSERT INTO tally VALUES (5, 1)`],
    ['nothing more', async () => {}],
  ])(
    'while its work waits for something else sends nothing to whoever has its place (%s)',
    async (_name, next) => {
      const pool = openDatabase({ url: database.url, poolMax: 1, applicationName: 'breaks' });
      const work = inTransaction(pool.sql, 'isolation level read committed', async (tx) => {
        const [row] = await tx`SELECT pg_backend_pid() AS pid`;
        await database.sql`SELECT pg_terminate_backend(${row?.pid})`;
        await sleep(200);
        await next(tx);
      });
      await expect(work).rejects.toThrow();
      await sleep(300);
      expect(await pool.sql`SELECT id FROM tally WHERE id = 5`).toEqual([]);
      await pool.close();
    },
  );

  test('runs the work again, because nothing of it was committed', async () => {
    const pool = openDatabase({ url: database.url, poolMax: 1, applicationName: 'breaks' });
    let runs = 0;
    await withTransaction(pool.sql, async (tx) => {
      runs += 1;
      await tx`UPDATE tally SET count = count + 1 WHERE id = 2`;
      if (runs === 1) await tx`SELECT pg_terminate_backend(pg_backend_pid())`;
    });
    await pool.close();
    expect(runs).toBe(2);
    expect(await database.sql`SELECT count FROM tally WHERE id = 2`).toEqual([{ count: 3n }]);
  });
});

describe('an error that tells of another connection than the living one of its transaction', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  const closed = Object.assign(new Error('write CONNECTION_CLOSED'), { code: 'CONNECTION_CLOSED' });

  test.each([
    ['plain', refused],
    ['nested', new Error('it broke', { cause: closed })],
  ])(
    'is thrown within seconds, after one run that is undone and holds no lock (%s)',
    async (_name, error) => {
      const pool = openDatabase({ url: database.url, poolMax: 1, applicationName: 'lives' });
      const readPid = async () => (await pool.sql`SELECT pg_backend_pid() AS pid`)[0]?.pid;
      const pid = await readPid();
      const [before] = await database.sql`SELECT count FROM tally WHERE id = 1`;
      let runs = 0;
      const startedAt = performance.now();
      const work = withTransaction(pool.sql, async (tx) => {
        runs += 1;
        await tx`UPDATE tally SET count = count + 100 WHERE id = 1`;
        throw error;
      });
      await expect(work).rejects.toBe(error);
      expect(performance.now() - startedAt).toBeLessThan(4_000);
      expect(runs).toBe(1);
      expect(await database.sql`SELECT count FROM tally WHERE id = 1 FOR UPDATE NOWAIT`).toEqual([before]);
      expect(await readPid()).toBe(pid);
      await pool.close();
    },
  );
});
