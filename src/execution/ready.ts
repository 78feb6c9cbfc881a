import { Problem } from '../core/problem.ts';
import type { Jail } from './backend.ts';
import { READY_LINE } from './inject.ts';

const READY_TIMEOUT_MS = 10_000;

/** Waits until a jail's bootstrap waits for code. Throws a `Problem('unavailable')` when that does not come about. */
export function awaitReady(jail: Jail, signal: AbortSignal): Promise<void> {
  const expected = Buffer.from(`${READY_LINE}\n`);
  let seen = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      jail.stdout.off('data', read).off('end', fail).off('error', fail).pause();
      settle();
    };
    const fail = () => finish(() => reject(notReady()));
    const abort = () => finish(() => reject(signal.reason));
    const read = (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      if (seen.length < expected.length) return;
      if (!seen.subarray(0, expected.length).equals(expected)) return fail();
      const rest = seen.subarray(expected.length);
      finish(resolve);
      if (rest.length > 0) jail.stdout.unshift(rest);
    };
    const timer = setTimeout(fail, READY_TIMEOUT_MS);
    signal.addEventListener('abort', abort, { once: true });
    jail.stdout.on('data', read).once('end', fail).once('error', fail);
    jail.stdin.on('error', () => {});
    if (signal.aborted) abort();
  });
}

function notReady(): Problem {
  return new Problem('unavailable', {
    detail: 'The sandbox could not start the server.',
    retryAfterSeconds: 5,
    isUncharged: true,
  });
}
