import { setTimeout as sleep } from 'node:timers/promises';
import { isConnectionLost } from '../core/database-lost.ts';
import type { Sql, Tx } from './client.ts';

const RETRIES_MAX = 5;
const RETRY_BASE_MS = 5;

/** A connection that is gone is known to be within milliseconds; one that is still there by then lives. */
const CLOSE_WAIT_MS = 1_000;

/** serialization_failure and deadlock_detected: the server has undone everything, so running again is safe. */
const RETRYABLE = new Set(['40001', '40P01']);

/**
 * Runs `work` in one READ COMMITTED transaction and commits what it did; a throw undoes it all.
 * `work` may run several times, so nothing in it may reach outside the database but what
 * is told rather twice than never, as a line of our log.
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
      const value = await work(guard(tx, () => isOver));
      // Lost behind the work's back: COMMIT would meet what ROLLBACK would.
      if (isOver) await forever();
      return { value };
    } catch (error) {
      // The driver would send ROLLBACK into a connection that is gone, which ends the process or leaves the
      // connection's place in the pool unusable (porsager/postgres, issues 1154 and 1208). The server has
      // undone everything, and `begin` itself throws as soon as the connection is closed. When it does not,
      // the error came from elsewhere, and the ROLLBACK is what frees the locks.
      if (isConnectionLost(error) && !isOver) await sleep(CLOSE_WAIT_MS);
      if (isOver) await forever();
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

/** Each wait has its own: one shared would keep all that ever waited. */
const forever = () => new Promise<never>(() => {});

/**
 * The transaction for as long as it is one. Its connection may close while its work waits for something else; the
 * driver would send the next statement all the same: into a socket that is gone, which ends the process, or on a
 * connection made anew in its place, where nothing would ever undo it.
 */
function guard(tx: Tx, isOver: () => boolean): Tx {
  const refuseIfOver = () => {
    if (isOver()) throw Object.assign(new Error('the transaction is over'), { code: 'CONNECTION_CLOSED' });
  };
  return new Proxy(tx, {
    apply(target, self, given) {
      refuseIfOver();
      return Reflect.apply(target, self, given);
    },
    get(target, name) {
      refuseIfOver();
      return Reflect.get(target, name);
    },
  });
}

function isRetryable(error: unknown): boolean {
  return RETRYABLE.has(codeOf(error));
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
