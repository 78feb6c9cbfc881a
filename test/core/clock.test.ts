import { expect, test } from 'vitest';
import { toIsoText } from '../../src/core/clock.ts';

test('a time is spelled as itself, whatever was spelled before it', () => {
  const times = [1_763_714_918_038, 1_763_714_918_038, 1_763_714_918_039, 0, 1_763_714_918_038];
  expect(times.map((time) => toIsoText(new Date(time)))).toEqual(
    times.map((time) => new Date(time).toISOString()),
  );
});
