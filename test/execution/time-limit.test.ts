import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { createTimeLimit } from '../../src/execution/time-limit.ts';

test('work that never ends is stopped', () => {
  const limit = createTimeLimit();
  const startedAt = performance.now();
  const forever = () => {
    for (;;);
  };
  expect(limit(forever, 50)).toEqual({ kind: 'too-slow' });
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});

test('work that the machine gave no time to is not too slow: it is begun anew', () => {
  const limit = createTimeLimit();
  let turns = 0;
  const stalled = () => {
    turns += 1;
    // The first turn waits without working, as a process does that others push aside.
    if (turns === 1) execFileSync('sleep', ['0.2']);
    return turns;
  };
  expect(limit(stalled, 100)).toEqual({ kind: 'done', value: 2 });
});
