import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { exchangeTaken, pruneBuckets } from '../../src/traffic/store.ts';
import { createTraffic, type Traffic } from '../../src/traffic/traffic.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 4 });
});
afterAll(() => database.close());
beforeEach(() => database.sql`DELETE FROM rate_bucket`);

type Rate = { perSecond: number; burst: number };
const OFF: Rate = { perSecond: 0, burst: 1 };

function start(key: Rate, sql = database.sql): Traffic {
  const policies = { key, payer: OFF, address: OFF, 'wrong-keys': OFF };
  return createTraffic({ sql, policies });
}

/** Asks all of them as fast as it can for a while; how many calls they let through, and how long it took. */
async function storm(limiters: readonly Traffic[], input: { ms: number; everyMs: number }) {
  const from = performance.now();
  let [taken, exchangedAt, longest] = [0, from, 0];
  for (;;) {
    const now = performance.now();
    if (now - from >= input.ms) return { taken, seconds: (now - from) / 1000, gapSeconds: longest / 1000 };
    for (const { key } of limiters)
      for (let call = 0; call < 20; call += 1) if (key.take('k') >= 0) taken += 1;
    if (now - exchangedAt >= input.everyMs) {
      await Promise.all(limiters.map(({ exchange }) => exchange()));
      longest = Math.max(longest, performance.now() - exchangedAt);
      exchangedAt = performance.now();
    }
    await sleep(1);
  }
}

const RATE: Rate = { perSecond: 1_000, burst: 100 };
const PROCESSES = 4;

/** The bound that the README states: n processes with bucket B, rate r, slack θ = B/16 and exchanges every s. */
function boundOf(rate: Rate, seconds: number, gapSeconds: number): number {
  const slack = rate.burst / 16 + 1;
  const each = rate.burst + 2 * (slack + rate.perSecond * gapSeconds);
  return rate.perSecond * seconds + PROCESSES * each;
}

test('four processes on one database let through what the README says, and not four times the rate', async () => {
  const limiters = Array.from({ length: PROCESSES }, () => start(RATE));
  const { taken, seconds, gapSeconds } = await storm(limiters, { ms: 4_000, everyMs: 50 });
  expect(taken).toBeLessThanOrEqual(boundOf(RATE, seconds, gapSeconds));
  // And they are not starved by each other's debts either: what is paid back is given out again.
  expect(taken).toBeGreaterThanOrEqual(RATE.burst + (RATE.perSecond * seconds) / 4);
});

test('without the exchange the same storm breaks that bound', async () => {
  const limiters = Array.from({ length: PROCESSES }, () => start(RATE));
  const { taken, seconds } = await storm(limiters, { ms: 2_000, everyMs: 1e9 });
  expect(taken).toBeGreaterThan(boundOf(RATE, seconds, 0.1));
});

test('a process that was never asked refuses who emptied his bucket elsewhere, after one exchange of its own', async () => {
  const [one, other] = [start({ perSecond: 1, burst: 160 }), start({ perSecond: 1, burst: 160 })];
  while (one.key.take('k') >= 0);
  await one.exchange();
  let taken = 0;
  while (other.key.take('k') >= 0 && taken < 10) taken += 1;
  await other.exchange();
  expect(taken).toBe(10);
  expect(other.key.take('k')).toBeLessThan(0);
});

test('who takes next to nothing is no row in the database', async () => {
  const traffic = start({ perSecond: 10, burst: 160 });
  for (let subject = 0; subject < 500; subject += 1) traffic.key.take(`quiet-${subject}`);
  await traffic.exchange();
  expect(await database.sql`SELECT name FROM rate_bucket`).toHaveLength(0);
  for (let call = 0; call < 20; call += 1) traffic.key.take('busy');
  await traffic.exchange();
  const rows = await database.sql<{ name: string }[]>`SELECT name FROM rate_bucket`;
  expect(rows).toHaveLength(1);
  expect(rows[0]?.name).not.toContain('busy');
});

test('without the database limits go on locally, and what was taken meanwhile is told afterwards', async () => {
  let isAway = true;
  const away = new Proxy(database.sql, {
    apply: (target, self, input) =>
      isAway ? Promise.reject(new Error('away')) : Reflect.apply(target, self, input),
  });
  const clock = { ms: 0 };
  const policies = { key: { perSecond: 1, burst: 32 }, payer: OFF, address: OFF, 'wrong-keys': OFF };
  const traffic = createTraffic({ sql: away, policies, nowMs: () => clock.ms });
  let taken = 0;
  while (traffic.key.take('k') >= 0) taken += 1;
  await expect(traffic.exchange()).rejects.toThrow('away');
  expect(taken).toBe(32);
  expect(traffic.key.take('k')).toBeLessThan(0);
  isAway = false;
  clock.ms = 3_000;
  await traffic.exchange();
  const [row] = await database.sql<{ tokens: number }[]>`SELECT tokens FROM rate_bucket`;
  expect(row?.tokens).toBe(-32);
});

test('a hundred exchanges at once of the same subjects lose no report and meet no deadlock', async () => {
  const limiters = Array.from({ length: 10 }, () => start({ perSecond: 0.001, burst: 1_600 }));
  for (let round = 0; round < 10; round += 1) {
    for (const { key } of limiters)
      for (let subject = 0; subject < 8; subject += 1)
        for (let call = 0; call < 101; call += 1) key.take(`s${(subject + round) % 8}`);
    await Promise.all(limiters.map(({ exchange }) => exchange()));
  }
  const rows = await database.sql<{ tokens: number }[]>`SELECT tokens FROM rate_bucket`;
  expect(rows).toHaveLength(8);
  // 1,600 in all would have been given to one process; each of the ten gave out no more than it believed was there.
  for (const { tokens } of rows) {
    expect(-tokens * 0.001).toBeGreaterThanOrEqual(1_010);
    expect(-tokens * 0.001).toBeLessThanOrEqual(1_600 + 10 * 101);
  }
});

test('pruning forgets buckets that are full again and no other', async () => {
  await database.sql`
    INSERT INTO rate_bucket (name, tokens, updated_at) VALUES
      ('long-full', -10, now() - interval '75 seconds'),
      ('just-full', -10, now() - interval '30 seconds'),
      ('in-debt', -1000, now() - interval '75 seconds')`;
  expect(await pruneBuckets(database.sql)).toBe(1);
  const rows = await database.sql<{ name: string }[]>`SELECT name FROM rate_bucket ORDER BY name`;
  expect(rows.map(({ name }) => name)).toEqual(['in-debt', 'just-full']);
});

test('a database whose clock was set back lets buckets refill from then on, and not in an hour', async () => {
  const taken = [{ name: 'ahead', takenSeconds: 1 }];
  await database.sql`INSERT INTO rate_bucket (name, tokens, updated_at) VALUES ('ahead', -5, now() + interval '1 hour')`;
  // What was missing is still missing, and nothing is given for a time that was never there.
  expect((await exchangeTaken(database.sql, taken)).get('ahead')).toBe(6);
  await sleep(300);
  const missing = (await exchangeTaken(database.sql, taken)).get('ahead') ?? 0;
  expect(missing).toBeLessThan(7 - 0.25);
  // Statements that came out of order by moments give nothing twice.
  await database.sql`UPDATE rate_bucket SET tokens = -5, updated_at = now() + interval '2 seconds'`;
  expect((await exchangeTaken(database.sql, taken)).get('ahead')).toBe(6);
  expect((await exchangeTaken(database.sql, taken)).get('ahead')).toBe(7);
});
