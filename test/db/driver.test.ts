import { connect, createServer, type Socket } from 'node:net';
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

// All of these fail with the driver as it is (postgres 3.4.9); `patches/` has what they need.

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

test('whoever asks again at once on connections that are reset is told', async () => {
  const target = new URL(database.url);
  const links = new Set<Socket>();
  const door = createServer((socket) => {
    const server = connect(Number(target.port), target.hostname);
    for (const [one, other] of [
      [socket, server],
      [server, socket],
    ] as const) {
      one.on('error', () => {}).on('data', (data) => other.write(data));
      one.once('close', () => other.destroy());
    }
    links.add(socket);
    socket.once('close', () => links.delete(socket));
  });
  await new Promise<void>((done) => door.listen(0, '127.0.0.1', done));
  const address = door.address();
  const url = new URL(database.url);
  url.hostname = '127.0.0.1';
  url.searchParams.delete('host');
  url.port = String(typeof address === 'object' ? address?.port : 0);
  const { sql, close } = openDatabase({ url: url.href, poolMax: POOL_MAX, applicationName: 'driver' });
  const ends: string[] = [];
  let isOver = false;
  const loops = Array.from({ length: 9 }, async () => {
    while (!isOver) {
      const end = await told(sql`SELECT 1`);
      ends.push(end === 'refused' ? await told(sql`SELECT 2`) : end);
    }
  });
  for (let round = 0; round < 20; round += 1) {
    await sleep(60);
    for (const link of links) link.resetAndDestroy();
  }
  isOver = true;
  await Promise.all(loops);
  expect(ends).toContain('answered');
  expect(ends).not.toContain('left waiting');
  await close();
  door.close();
});

test('a transaction that fills a pipeline is one, and nobody else is in it', async () => {
  const { sql, close } = openDatabase({ url: database.url, poolMax: 1, applicationName: 'pipeline' });
  await sql`SELECT 1`;
  const ahead = [sql`SELECT pg_sleep(0.2)`, ...Array.from({ length: 99 }, () => sql`SELECT 1`)];
  const asked = Promise.all(ahead);
  const done = inTransaction(sql, '', async (tx) => [...(await tx`SELECT 2 AS two`)]);
  expect(await told(asked)).toBe('answered');
  expect(await done).toEqual([{ two: 2 }]);
  const [state] = await database.sql`
    SELECT state FROM pg_stat_activity WHERE application_name = 'pipeline' AND state LIKE '%transaction%'`;
  expect(state).toBeUndefined();
  await close();
});

test('rows that came before an error are no rows of the next statement', async () => {
  const { sql, close } = openDatabase({ url: database.url, poolMax: 1, applicationName: 'driver' });
  await expect(sql`SELECT 1 / (2900 - i) FROM generate_series(1, 3000) i`).rejects.toThrow(
    'division by zero',
  );
  expect([...(await sql`SELECT 7 AS seven`)]).toEqual([{ seven: 7 }]);
  await close();
});

test('a pool is closed as soon as its last statement is cut', async () => {
  const { sql, close } = openDatabase({ url: database.url, poolMax: 1, applicationName: 'cut' });
  const running = told(sql`SELECT pg_sleep(30)`);
  await sleep(300);
  const from = performance.now();
  const closed = close();
  await database.sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cut'`;
  expect(await running).toBe('refused');
  await closed;
  // The bound on closing is five seconds.
  expect(performance.now() - from).toBeLessThan(4_500);
});
