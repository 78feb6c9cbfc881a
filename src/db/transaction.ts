import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql, Tx } from './client.ts';

const RETRIES_MAX = 5;
const RETRY_BASE_MS = 5;

/** serialization_failure and deadlock_detected: the server has undone everything, so running again is safe. */
const RETRYABLE = new Set(['40001', '40P01']);

/**
 * Runs `work` in one READ COMMITTED transaction and commits what it did; a throw undoes it all.
 * `work` may run several times, so nothing in it may reach outside the database.
 */
export async function withTransaction<T>(sql: Sql, work: (tx: Tx) => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const { value } = await sql.begin('isolation level read committed', async (tx) => ({
        value: await work(tx),
      }));
      return value;
    } catch (error) {
      if (attempt >= RETRIES_MAX || !isRetryable(error)) throw error;
      await sleep(RETRY_BASE_MS * 2 ** attempt * (0.5 + Math.random()));
    }
  }
}

function isRetryable(error: unknown): boolean {
  return error instanceof Error && 'code' in error && RETRYABLE.has(String(error.code));
}
