import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql, Tx } from './client.ts';

const RETRIES_MAX = 5;
const RETRY_BASE_MS = 5;

/** A connection that is gone is known to be within milliseconds; one that is still there by then lives. */
const CLOSE_WAIT_MS = 1_000;

/** serialization_failure and deadlock_detected: the server has undone everything, so running again is safe. */
const RETRYABLE = new Set(['40001', '40P01']);

/**
 * Runs `work` in one READ COMMITTED transaction and commits what it did; a throw undoes it all.
 * `work` may run several times, so nothing in it may reach outside the database.
 */
export async function withTransaction<T>(sql: Sql, work: (tx: Tx) => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    let isDone = false;
    let thrown: unknown;
    const workOnce = async (tx: Tx) => {
      try {
        const value = await work(tx);
        isDone = true;
        return value;
      } catch (error) {
        thrown = error;
        throw error;
      }
    };
    try {
      return await inTransaction(sql, 'isolation level read committed', workOnce);
    } catch (error) {
      // A connection that was lost before COMMIT was sent has undone everything, too; after that nobody knows.
      // The driver has an error of its own for that: the work's own tells of another connection than this one.
      const isUndone = isRetryable(error) || (!isDone && error !== thrown && isConnectionLost(error));
      if (attempt >= RETRIES_MAX || !isUndone) throw error;
      await sleep(RETRY_BASE_MS * 2 ** attempt * (0.5 + Math.random()));
    }
  }
}

/** Runs `work` in one transaction of the given kind. */
export async function inTransaction<T>(sql: Sql, kind: string, work: (tx: Tx) => Promise<T>): Promise<T> {
  let isOver = false;
  const workOrWait = async (tx: Tx) => {
    try {
      return { value: await work(tx) };
    } catch (error) {
      // The driver would send ROLLBACK into a connection that is gone, which ends the process or leaves the
      // connection's place in the pool unusable (porsager/postgres, issues 1154 and 1208). The server has
      // undone everything, and `begin` itself throws as soon as the connection is closed. When it does not,
      // the error came from elsewhere, and the ROLLBACK is what frees the locks.
      if (isConnectionLost(error)) {
        await sleep(CLOSE_WAIT_MS);
        if (isOver) await new Promise(() => {});
      }
      throw error;
    }
  };
  try {
    const { value } = await sql.begin(kind, workOrWait);
    return value;
  } finally {
    isOver = true;
  }
}

function isRetryable(error: unknown): boolean {
  return RETRYABLE.has(codeOf(error));
}

/** Errors of the socket, of the driver about its socket, and what the server says before it hangs up. */
function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const severity = 'severity' in error ? error.severity : undefined;
  if (severity === 'FATAL' || severity === 'PANIC') return true;
  if (/^(?:CONNECTION_|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)/.test(codeOf(error))) return true;
  return isConnectionLost(error.cause);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
