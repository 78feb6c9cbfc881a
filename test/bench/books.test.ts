import { expect, test } from 'vitest';
import { isCountRight } from '../../scripts/bench/books.ts';

test('a charge that was acknowledged and is not there is wrong, and one that nobody can have asked for is, too', () => {
  const asked = { acknowledged: 100, cutOffMax: 64 };
  expect([99, 100, 164, 165].map((captured) => isCountRight({ ...asked, captured }))).toEqual([
    false,
    true,
    true,
    false,
  ]);
});
