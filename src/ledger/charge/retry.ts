import { setTimeout as sleep } from 'node:timers/promises';

const TRIES_MAX = 7;
/** A try may itself wait for a connection. */
const TRYING_MAX_MS = 3_000;
const FIRST_PAUSE_MS = 20;

/**
 * What passes: a serialization failure, a deadlock, a check that saw a stale snapshot, a lost or restarting server. Not
 * all that `isDatabaseLost` knows: a password that is wrong, or a database that is closed, is still so in a second.
 */
const PASSING = new Set([
  '40001',
  '40P01',
  '23514',
  '57P01',
  '57P02',
  '57P03',
  '08006',
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  // Of a unix socket: its file is not there while the server is not, and its queue is full.
  'ENOENT',
  'EAGAIN',
]);

/**
 * Sends a statement again while what stopped it passes, a lost or restarting server too, for about three seconds. The
 * statements are exactly-once by their ids, so sending one again is safe even when the first did commit and only its
 * answer was lost. The first attempt is 1.
 */
export async function withRetry<T>(send: (attempt: number) => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  for (let attempt = 1; ; attempt++) {
    try {
      return await send(attempt);
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
      const isOver = attempt === TRIES_MAX || performance.now() - startedAt > TRYING_MAX_MS;
      if (isOver || !PASSING.has(code)) throw cause;
      await sleep(FIRST_PAUSE_MS * 2 ** attempt * (0.5 + Math.random()));
    }
  }
}
