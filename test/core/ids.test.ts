import { expect, test } from 'vitest';
import { isUuid, newUuid } from '../../src/core/ids.ts';

test('ids of one process are in the order they were made, within a millisecond too', () => {
  const ids = Array.from({ length: 3_000 }, () => newUuid());
  expect(ids).toEqual([...ids].sort());
  for (const id of ids)
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('more ids than a millisecond can count, and those of a clock that was set back, are ids of their own', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  const ids = [now, now - 1, now].flatMap((at) => Array.from({ length: 10_000 }, () => newUuid(at)));
  expect(new Set(ids).size).toBe(30_000);
  expect(ids.every(isUuid)).toBe(true);
  expect(ids[0]?.slice(0, 18)).toBe('019b76da-a800-7000');
  expect(ids[9_999]?.slice(0, 18)).toBe('019b76da-a800-7fff');
});

test('a time that 48 bits do not hold is refused, and spoils no id behind it', () => {
  for (const now of [1e300, 2 ** 48, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => newUuid(now), String(now)).toThrow('48 bits');
    expect(isUuid(newUuid())).toBe(true);
  }
  expect(newUuid(0)).toMatch(/^00000000-0000-7000-/);
  expect(newUuid(2 ** 48 - 1)).toMatch(/^ffffffff-ffff-7000-/);
});
