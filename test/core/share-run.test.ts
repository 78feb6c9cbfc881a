import { expect, test } from 'vitest';
import { shareRun } from '../../src/core/share-run.ts';

test('a thousand who ask at once are answered by one run, and the next is answered anew, also after a failure', async () => {
  let runs = 0;
  const ask = shareRun(async () => {
    runs += 1;
    const run = runs;
    await new Promise((done) => setTimeout(done, 5));
    if (run === 2) throw new Error('down');
    return run;
  });
  const answers = await Promise.all(Array.from({ length: 1_000 }, ask));
  expect(new Set(answers)).toEqual(new Set([1]));
  const failures = await Promise.allSettled([ask(), ask()]);
  expect(failures.every(({ status }) => status === 'rejected')).toBe(true);
  expect(await ask()).toBe(3);
  expect(runs).toBe(3);
});
