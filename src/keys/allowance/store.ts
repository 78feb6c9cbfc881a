import { bucketOf, type Uuid } from '../../core/ids.ts';
import type { Queryable, Tx } from '../../db/index.ts';

type Counter = { name: string; period: 'ever' | 'day' };
/** `period` is the day, or `ever`; `kind` says which of the two. */
export type CounterUse = { name: string; period: string; kind: 'ever' | 'day'; used: number };

const namesOf = (counters: readonly { name: string }[]) => counters.map(({ name }) => name);
const periodsOf = (counters: readonly { period: string }[]) => counters.map(({ period }) => period);

/** Counters by the day that is now by the database's clock. */
function wantedOf(sql: Queryable, counters: readonly Counter[]) {
  return sql`SELECT name, kind, CASE kind WHEN 'ever' THEN 'ever'
      ELSE to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') END AS period
    FROM unnest(${namesOf(counters)}::text[], ${periodsOf(counters)}::text[]) AS t(name, kind)`;
}

export function readCounters(
  sql: Queryable,
  input: { accountId: Uuid; counters: readonly Counter[] },
): Promise<CounterUse[]> {
  // What expired takes hold is free again.
  return sql<CounterUse[]>`
    WITH w AS (${wantedOf(sql, input.counters)})
    SELECT w.name, w.period, w.kind, coalesce(c.used, 0) - (SELECT count(*)::int FROM free_take t
      WHERE t.account_id = ${input.accountId} AND t.name = w.name AND t.period = w.period AND t.expires_at < now()) AS used
    FROM w LEFT JOIN free_counter c ON c.account_id = ${input.accountId} AND c.name = w.name AND c.period = w.period`;
}

/** Opens the counters where needed, sweeps those of days past, and locks them in the order of their names. */
export async function lockCounters(
  tx: Tx,
  input: { accountId: Uuid; counters: readonly Counter[] },
): Promise<CounterUse[]> {
  const { accountId, counters } = input;
  const opened = await tx<{ name: string; period: string }[]>`
    WITH w AS (${wantedOf(tx, counters)})
    INSERT INTO free_counter (bucket, account_id, name, period, used)
    SELECT ${bucketOf(accountId)}::int, ${accountId}::uuid, name, period, 0 FROM w ORDER BY name, period
    ON CONFLICT DO NOTHING RETURNING name, period`;
  const days = opened.filter(({ period }) => period !== 'ever');
  if (days.length > 0) {
    await tx`DELETE FROM free_take WHERE account_id = ${accountId} AND name = ANY(${namesOf(days)})
      AND period <> 'ever' AND period < ${days[0]?.period ?? ''}`;
    await tx`DELETE FROM free_counter WHERE account_id = ${accountId} AND name = ANY(${namesOf(days)})
      AND period <> 'ever' AND period < ${days[0]?.period ?? ''}`;
  }
  return tx<CounterUse[]>`
    WITH w AS (${wantedOf(tx, counters)})
    SELECT c.name, c.period, w.kind, c.used FROM free_counter c JOIN w ON w.name = c.name AND w.period = c.period
    WHERE c.account_id = ${accountId} ORDER BY c.name, c.period FOR UPDATE OF c`;
}

/** Locks the counters that a take counts in, in the same order. */
export async function lockCountersOf(tx: Tx, takeId: Uuid): Promise<void> {
  await tx`SELECT c.used FROM free_counter c JOIN free_take t
      ON t.account_id = c.account_id AND t.name = c.name AND t.period = c.period
    WHERE t.id = ${takeId} ORDER BY c.name, c.period FOR UPDATE OF c`;
}

/** Removes the takes whose time is over from counters that are locked, and answers how many of each. */
export function reclaimTakes(
  tx: Tx,
  input: { accountId: Uuid; counters: readonly { name: string; period: string }[] },
): Promise<{ name: string; period: string; count: number }[]> {
  const { accountId, counters } = input;
  return tx<{ name: string; period: string; count: number }[]>`
    WITH gone AS (DELETE FROM free_take t
      USING unnest(${namesOf(counters)}::text[], ${periodsOf(counters)}::text[]) AS w(name, period)
      WHERE t.account_id = ${accountId} AND t.name = w.name AND t.period = w.period AND t.expires_at < now()
      RETURNING t.name, t.period)
    SELECT name, period, count(*)::int AS count FROM gone GROUP BY name, period`;
}

export async function addUses(
  tx: Tx,
  input: { accountId: Uuid; changes: readonly { name: string; period: string; by: number }[] },
): Promise<void> {
  for (const { name, period, by } of input.changes) {
    await tx`UPDATE free_counter SET used = used + ${by}
      WHERE account_id = ${input.accountId} AND name = ${name} AND period = ${period}`;
  }
}

export async function insertTakes(
  tx: Tx,
  input: {
    id: Uuid;
    accountId: Uuid;
    counters: readonly { name: string; period: string }[];
    leaseMs: number;
  },
): Promise<void> {
  const { id, accountId, counters, leaseMs } = input;
  await tx`INSERT INTO free_take (bucket, id, account_id, name, period, expires_at)
    SELECT ${bucketOf(accountId)}::int, ${id}::uuid, ${accountId}::uuid, name, period,
      now() + ${leaseMs}::int * interval '1 millisecond'
    FROM unnest(${namesOf(counters)}::text[], ${periodsOf(counters)}::text[]) AS t(name, period)`;
}

/** Removes a call's takes, only while its time is not over when `isInTime`; answers where it counted. */
export function deleteTakes(
  tx: Tx,
  input: { id: Uuid; isInTime: boolean },
): Promise<{ name: string; period: string }[]> {
  return tx<{ name: string; period: string }[]>`DELETE FROM free_take
    WHERE id = ${input.id} AND (NOT ${input.isInTime} OR expires_at >= now()) RETURNING name, period`;
}

export async function findTier(sql: Queryable, accountId: Uuid): Promise<string | undefined> {
  const [row] = await sql<{ tier: string }[]>`SELECT tier FROM account_tier WHERE account_id = ${accountId}`;
  return row?.tier;
}

/** Sets the tier of the account that a key spends; answers that account, when there is such a key. */
export async function upsertTier(
  sql: Queryable,
  input: { keyId: Uuid; tier: string },
): Promise<Uuid | undefined> {
  const [row] = await sql<{ accountId: Uuid }[]>`
    INSERT INTO account_tier (account_id, tier)
    SELECT account_id, ${input.tier}::text FROM api_key WHERE id = ${input.keyId}
    ON CONFLICT (account_id) DO UPDATE SET tier = excluded.tier, changed_at = now()
    RETURNING account_id`;
  return row?.accountId;
}
