import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inTransaction, openDatabase } from '../../src/db/index.ts';
import { createTestDatabase, loseDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 1 });
});
afterAll(() => database.close());

const POOL_MAX = 6;
/** Far beyond what a refusal takes, and far below what a statement may. */
const TOLD_MS = 8_000;

/** Whether it ended in time, and how. */
function told(work: Promise<unknown>): Promise<string> {
  const done = work.then(
    () => 'answered',
    () => 'refused',
  );
  return Promise.race([done, sleep(TOLD_MS, 'left waiting', { ref: false })]);
}

/**
 * All of these fail with the driver as it is (postgres 3.4.9); `patches/` has what they need, and a clone that is not
 * patched is told by them.
 */
test.each([1, 2, 3, 4])(
  'whoever waits while the server refuses is told, and all of the pool works once it does not (round %d)',
  async () => {
    const { sql, close } = openDatabase({ url: database.url, poolMax: POOL_MAX, applicationName: 'refused' });
    const ends: string[] = [];
    let isOver = false;
    const repeat = async (work: () => Promise<unknown>) => {
      while (!isOver) {
        ends.push(await told(work()));
        await sleep(5 * Math.random());
      }
    };
    const loops = [
      ...Array.from({ length: 5 }, () => repeat(async () => sql`SELECT ${1}::int`)),
      ...Array.from({ length: 3 }, () =>
        repeat(() => inTransaction(sql, '', async (tx) => [await tx`SELECT 2`, await tx`SELECT ${3}::int`])),
      ),
    ];
    await sleep(150);
    const mend = await loseDatabase(database);
    await sleep(1_000 * Math.random());
    isOver = true;
    await Promise.all(loops);
    expect([...new Set(ends)].sort()).toEqual(['answered', 'refused']);
    await mend();
    await told(sql`SELECT 1`);
    const slow = await Promise.all(
      Array.from({ length: 4 * POOL_MAX }, () => told(sql`SELECT pg_sleep(0.05)`)),
    );
    expect(new Set(slow)).toEqual(new Set(['answered']));
    await close();
  },
);

test('whoever waits for a server that hangs up on everybody is told', async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).end();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const url = `postgres://nobody@127.0.0.1:${port}/none`;
  const { sql, close } = openDatabase({ url, poolMax: 2, applicationName: 'refused' });
  expect(await Promise.all([1, 2, 3].map(() => told(sql`SELECT 1`)))).toEqual(Array(3).fill('refused'));
  // It is not asked as fast as it can refuse.
  expect(sockets.size).toBeLessThan(10);
  await close();
  server.close();
});
