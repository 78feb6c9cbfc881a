import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from './client.ts';

/** Whoever asks, asks again soon, and gives up before a silent connection is. */
const ANSWER_MS = 3_000;

/** Whether the database answers now. */
export function isAnswering(sql: Sql): Promise<boolean> {
  const giveUp = new AbortController();
  const late = sleep(ANSWER_MS, false, { signal: giveUp.signal }).catch(() => false);
  // Why it does not is in the log of whoever needed it; readiness only asks whether it does.
  const answer = sql`SELECT 1`.then(
    () => true,
    () => false,
  );
  return Promise.race([answer, late]).finally(() => giveUp.abort());
}
