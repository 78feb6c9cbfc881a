import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../core/log.ts';
import { openDatabase } from './client.ts';

export type ReachOptions = { url: string; log: Log; waitMs?: number };

const WAIT_MS = 30_000;
const PAUSE_MS = 500;
/** What passes when a server starts, recovers, or is put on the network later than we are. */
const PASSING =
  /^(?:57P0[123]|08...|53300|CONNECT_TIMEOUT|CONNECTION_\w+|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|ENOENT|EAGAIN)$/;

/**
 * Resolves once the database answers, or with the reason, in one line, why it does not. Waits half a minute for one that
 * is not there yet, and not for one that says that it never will be: a wrong password, or no database of that name.
 */
export async function reachDatabase({
  url,
  log,
  waitMs = WAIT_MS,
}: ReachOptions): Promise<string | undefined> {
  const deadline = performance.now() + waitMs;
  for (let tries = 1; ; tries++) {
    const cause = await tryOnce(url);
    if (cause === undefined) return undefined;
    const isPassing = PASSING.test('code' in cause ? String(cause.code) : '');
    if (!isPassing || performance.now() > deadline) return cause.message;
    if (tries === 1) log.warn({ cause: cause.message }, 'the database is not there yet; waiting for it');
    await sleep(PAUSE_MS);
  }
}

async function tryOnce(url: string): Promise<Error | undefined> {
  const database = openDatabase({ url, poolMax: 1, applicationName: 'millicent-reach' });
  try {
    await database.sql`SELECT 1`;
    return undefined;
  } catch (cause) {
    if (cause instanceof Error) return cause;
    throw cause;
  } finally {
    await database.close();
  }
}
