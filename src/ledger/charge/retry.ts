import { setTimeout as sleep } from 'node:timers/promises';

const TRIES_MAX = 7;
const FIRST_PAUSE_MS = 20;

/**
 * What passes: a serialization failure, a deadlock, a check that saw a stale snapshot, a lost or restarting
 * server. The statements are exactly-once by their ids, so sending one again is safe even when the first did
 * commit and only its answer was lost.
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
]);

/** Sends a statement again while what stopped it passes, for about three seconds. */
export async function withRetry<T>(send: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await send();
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
      if (attempt === TRIES_MAX || !PASSING.has(code)) throw cause;
      await sleep(FIRST_PAUSE_MS * 2 ** attempt * (0.5 + Math.random()));
    }
  }
}
