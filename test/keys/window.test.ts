import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { openDatabase } from '../../src/db/index.ts';
import { pruneWindows, takeFromWindow } from '../../src/keys/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

const HOUR_MS = 3_600_000;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

function createWindow(max: number) {
  return { name: `test:${newUuid()}`, max, windowMs: HOUR_MS };
}

async function countRows(name: string): Promise<number> {
  const rows = await database.sql`SELECT 1 FROM rate_window WHERE name = ${name}`;
  return rows.length;
}

/** Lets an hour pass for the rows there are. */
async function moveBack(name: string): Promise<void> {
  await database.sql`UPDATE rate_window SET starts_at = starts_at - interval '1 hour' WHERE name = ${name}`;
}

describe('a window', () => {
  it('of 10 lets exactly 10 of 20 at once through, over two gateways', async () => {
    const other = openDatabase({ url: database.url, poolMax: 10, applicationName: 'second-gateway' });
    const window = createWindow(10);
    const takes = await Promise.all(
      Array.from({ length: 20 }, (_, at) => takeFromWindow(at % 2 ? database.sql : other.sql, window)),
    );
    await other.close();
    expect(takes.filter(({ kind }) => kind === 'taken')).toHaveLength(10);
  });

  it('that is used up says when the next one opens', async () => {
    const window = createWindow(1);
    expect(await takeFromWindow(database.sql, window)).toEqual({ kind: 'taken' });
    const refused = await takeFromWindow(database.sql, window);
    expect(refused).toEqual({ kind: 'exhausted', retryAfterSeconds: expect.any(Number) });
    if (refused.kind !== 'exhausted') return;
    const rest = HOUR_MS - (Date.now() % HOUR_MS);
    expect(Math.abs(refused.retryAfterSeconds * 1000 - rest)).toBeLessThan(5_000);
  });

  it('of none lets nobody through', async () => {
    expect((await takeFromWindow(database.sql, createWindow(0))).kind).toBe('exhausted');
  });

  it('of another name is another window', async () => {
    const [admin, signup] = [createWindow(1), createWindow(2)];
    expect((await takeFromWindow(database.sql, admin)).kind).toBe('taken');
    expect((await takeFromWindow(database.sql, admin)).kind).toBe('exhausted');
    expect((await takeFromWindow(database.sql, signup)).kind).toBe('taken');
    expect((await takeFromWindow(database.sql, signup)).kind).toBe('taken');
  });

  it('opens anew when its time is over, and the old one is pruned', async () => {
    const window = createWindow(1);
    await takeFromWindow(database.sql, window);
    await moveBack(window.name);
    expect(await takeFromWindow(database.sql, window)).toEqual({ kind: 'taken' });
    expect(await takeFromWindow(database.sql, window)).toMatchObject({ kind: 'exhausted' });
    expect(await countRows(window.name)).toBe(1);
  });

  it('that nobody comes back to is pruned too, and a current one is not', async () => {
    const [old, current] = [createWindow(1), createWindow(1)];
    await takeFromWindow(database.sql, old);
    await takeFromWindow(database.sql, current);
    for (let hours = 0; hours < 3; hours++) await moveBack(old.name);
    expect(await pruneWindows(database.sql, { olderThanMs: 2 * HOUR_MS })).toBe(1);
    expect(await countRows(old.name)).toBe(0);
    expect(await countRows(current.name)).toBe(1);
  });
});
