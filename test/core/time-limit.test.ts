import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { timeLimit } from '../../src/core/time-limit.ts';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

test('a limit is kept whatever the garbage collector does meanwhile', async () => {
  const never = new AbortController();
  const nested = timeLimit(timeLimit(never.signal, 10_000), 150);
  let isTold = false;
  timeLimit(never.signal, 150).addEventListener('abort', () => {
    isTold = true;
  });
  for (let round = 0; round < 5; round += 1) {
    collect();
    await sleep(10);
  }
  await sleep(300);
  expect(nested.aborted).toBe(true);
  expect(nested.reason).toMatchObject({ name: 'TimeoutError' });
  expect(isTold).toBe(true);
});

test('it ends with the signal it limits, at once and for its reason', () => {
  const caller = new AbortController();
  const limited = timeLimit(caller.signal, 60_000);
  const reason = new Error('the caller has gone');
  caller.abort(reason);
  expect(limited.reason).toBe(reason);
  expect(timeLimit(caller.signal, 60_000).reason).toBe(reason);
});
