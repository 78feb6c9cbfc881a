import { describe, expect, it } from 'vitest';
import { createCache } from '../../src/catalog/cache.ts';
import { times } from './fixtures.ts';

/** A cache of numbers that weigh what they are, and a clock that stands until it is moved. */
function createNumbers(bounds: { weightMax?: number; ttlMs?: number } = {}) {
  let now = new Date(0);
  const cache = createCache<number>(
    { weightMax: bounds.weightMax ?? 100, weigh: (value) => value, ttlMs: bounds.ttlMs ?? 1_000 },
    { now: () => now },
  );
  let loads = 0;
  return {
    cache,
    read: (key: string, value: number | undefined = 1) =>
      cache.get(key, async () => {
        loads += 1;
        return value;
      }),
    countLoads: () => loads,
    wait: (ms: number) => {
      now = new Date(now.getTime() + ms);
    },
  };
}

describe('the cache', () => {
  it('loads a value once for all who ask at the same time', async () => {
    const { read, countLoads } = createNumbers();
    expect(await Promise.all(times(20, () => read('a', 7)))).toEqual(Array(20).fill(7));
    expect(countLoads()).toBe(1);
  });

  it('holds a value until its time is over, however often it is used', async () => {
    const { read, wait } = createNumbers();
    await read('a', 1);
    wait(500);
    expect(await read('a', 2)).toBe(1);
    wait(499);
    expect(await read('a', 2)).toBe(1);
    wait(1);
    expect(await read('a', 2)).toBe(2);
  });

  it('remembers neither a miss nor a failure', async () => {
    const { cache, read } = createNumbers();
    expect(await cache.get('a', async () => undefined)).toBeUndefined();
    await expect(cache.get('a', () => Promise.reject(new Error('away')))).rejects.toThrow('away');
    expect(await read('a', 3)).toBe(3);
  });

  it('never weighs more than its bound: the least recently used leave, and what is too heavy is not kept', async () => {
    const { read } = createNumbers({ weightMax: 10 });
    await read('a', 4);
    await read('b', 4);
    await read('a');
    await read('c', 4);
    expect([await read('a', 9), await read('c', 9)]).toEqual([4, 4]);
    expect(await read('b', 11)).toBe(11);
    expect(await read('b', 2)).toBe(2);
  });

  it('counts a value that is read anew once', async () => {
    const { read, wait, countLoads } = createNumbers({ weightMax: 10 });
    for (let round = 0; round < 50; round += 1) {
      await read('a', 5);
      await read('b', 5);
      wait(1_000);
    }
    await read('a', 5);
    await read('b', 5);
    const loads = countLoads();
    await read('a', 5);
    expect([await read('b', 5), countLoads()]).toEqual([5, loads]);
  });

  it('forgets what was chosen and keeps the rest', async () => {
    const { cache, read } = createNumbers();
    await read('a', 1);
    await read('b', 2);
    cache.forget((value) => value === 1);
    expect([await read('a', 9), await read('b', 9)]).toEqual([9, 2]);
  });

  it('does not remember what was being read when it was told to forget, and asks again for who comes later', async () => {
    const { cache, read } = createNumbers();
    let finish: (value: number) => void = () => {};
    const old = cache.get(
      'a',
      () =>
        new Promise<number>((resolve) => {
          finish = resolve;
        }),
    );
    cache.forget(() => true);
    expect(await read('a', 2)).toBe(2);
    finish(1);
    expect(await old).toBe(1);
    expect(await read('a', 3)).toBe(2);
  });
});
