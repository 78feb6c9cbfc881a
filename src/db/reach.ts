import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../core/log.ts';
import { type Database, openDatabase } from './client.ts';

export type ReachOptions = { url: string; log: Log; waitMs?: number };

const WAIT_MS = 30_000;
/** For one try: a server that takes connections and says nothing would hold it for ever. */
const TRY_MS = 5_000;
const PAUSE_MS = 500;
/** What passes when a server starts, recovers, or is put on the network later than we are. */
const PASSING =
  /^(?:57P0[123]|08(?!P01)...|53300|CONNECT_TIMEOUT|CONNECTION_\w+|E(?:CONNREFUSED|CONNRESET|PIPE|TIMEDOUT|HOSTUNREACH|HOSTDOWN|NETUNREACH|NETDOWN|ADDRNOTAVAIL|NOTFOUND|AI_AGAIN|NOENT|AGAIN))$/;

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
    const causes = await tryOnce(url);
    if (causes.length === 0) return undefined;
    const reason = causes.map(({ message }) => message).join('; ');
    if (!causes.some(isPassing) || performance.now() > deadline) return reason;
    if (tries === 1) log.warn({ cause: reason }, 'the database is not there yet; waiting for it');
    await sleep(PAUSE_MS);
  }
}

function isPassing(cause: Error): boolean {
  return PASSING.test('code' in cause ? String(cause.code) : '');
}

/** Why it did not answer; nothing when it did. */
async function tryOnce(url: string): Promise<Error[]> {
  const database = open(url);
  if (!database)
    return [new Error('it is no address; what is special in a password is percent-encoded there')];
  const giveUp = new AbortController();
  const late = sleep(TRY_MS, undefined, { signal: giveUp.signal }).then(() => {
    throw Object.assign(new Error('it takes connections and does not answer'), { code: 'CONNECT_TIMEOUT' });
  });
  try {
    await Promise.race([database.sql`SELECT 1`, late]);
    return [];
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    // A name with several addresses fails with the failure of each.
    return cause instanceof AggregateError ? cause.errors : [cause];
  } finally {
    late.catch(() => {});
    giveUp.abort();
    await database.sql.end({ timeout: 0 });
  }
}

/** The driver's own words about an address that it cannot read repeat it, with its password. */
function open(url: string): Database | undefined {
  try {
    return openDatabase({ url, poolMax: 1, applicationName: 'millicent-reach' });
  } catch {
    return undefined;
  }
}
