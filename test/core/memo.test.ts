import { expect, test } from 'vitest';
import { createMemo, createNumbering } from '../../src/core/memo.ts';

test('what was made for a key is made once', () => {
  const memo = createMemo<{ key: string }>(10);
  const first = memo('a', () => ({ key: 'a' }));
  expect(memo('a', () => ({ key: 'another' }))).toBe(first);
  expect(memo('b', () => ({ key: 'b' }))).toEqual({ key: 'b' });
});

test('a stranger who chooses keys makes it forget the oldest, and never grow', () => {
  const memo = createMemo<{ made: number }>(3);
  let made = 0;
  const ask = (key: string) => memo(key, () => ({ made: ++made }));
  for (const key of ['a', 'b', 'c', 'd']) ask(key);
  expect(ask('b')).toEqual({ made: 2 });
  expect(ask('d')).toEqual({ made: 4 });
  expect(ask('a')).toEqual({ made: 5 });
  expect(ask('b')).toEqual({ made: 6 });
});

test('what could not be made is not remembered', () => {
  const memo = createMemo<{ key: string }>(3);
  const fail = () => {
    throw new Error('not now');
  };
  expect(() => memo('a', fail)).toThrow('not now');
  expect(memo('a', () => ({ key: 'a' }))).toEqual({ key: 'a' });
});

test('an object has one number, and no other object has it', () => {
  const numberOf = createNumbering();
  const [one, other] = [{ units: 1n }, { units: 1n }];
  expect(numberOf(one)).toBe(numberOf(one));
  expect(numberOf(one)).not.toBe(numberOf(other));
});
