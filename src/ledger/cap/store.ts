import { bucketOf, type Uuid } from '../../core/ids.ts';
import type { Queryable, Tx } from '../../db/index.ts';
import type { Caps, CapUse } from './cap.ts';
import type { ledgerCap } from './schema.ts';

export type CapRow = Omit<typeof ledgerCap.$inferSelect, 'bucket' | 'createdAt'>;

/** SQL for the hour that is now by the database's clock, which all gateways share. */
export const THIS_HOUR = "date_bin('1 hour', now(), 'epoch'::timestamptz)";

export async function insertCap(
  tx: Tx,
  { id, accountId }: { id: Uuid; accountId: Uuid },
  caps: Caps,
): Promise<void> {
  await tx`INSERT INTO ledger_cap (bucket, id, per_call, per_hour, total, hour_start, hour_spent, spent, held)
    VALUES (${bucketOf(accountId)}, ${id}, ${caps.perCall ?? null}, ${caps.perHour ?? null}, ${caps.total ?? null},
      ${tx.unsafe(THIS_HOUR)}, 0, 0, 0)`;
}

/**
 * The caps, locked in the order of their ids, and the hour that what is spent now belongs to: never one before
 * an hour that another call has opened already, however long this one waited for its lock.
 */
export async function lockCaps(tx: Tx, capIds: readonly Uuid[]): Promise<{ caps: CapRow[]; hour: Date }> {
  const rows = await tx<(CapRow & { thisHour: Date })[]>`
    SELECT id, per_call, per_hour, total, hour_start, hour_spent, spent, held, ${tx.unsafe(THIS_HOUR)} AS this_hour
    FROM ledger_cap WHERE id = ANY(${capIds as Uuid[]}::uuid[]) ORDER BY id FOR UPDATE`;
  const caps = rows.map(({ thisHour: _, ...cap }) => cap);
  const hours = rows.flatMap(({ thisHour, hourStart }) => [thisHour.getTime(), hourStart.getTime()]);
  return { caps, hour: new Date(Math.max(...hours)) };
}

export async function updateCap(tx: Tx, cap: CapRow): Promise<void> {
  await tx`UPDATE ledger_cap SET hour_start = ${cap.hourStart}, hour_spent = ${cap.hourSpent},
      spent = ${cap.spent}, held = ${cap.held}
    WHERE id = ${cap.id}`;
}

export async function listCaps(sql: Queryable, capIds: readonly Uuid[]): Promise<CapUse[]> {
  return sql<CapUse[]>`
    SELECT id, per_call, per_hour, total, spent, held,
      CASE WHEN hour_start = hour THEN hour_spent ELSE 0 END AS hour_spent, hour + interval '1 hour' AS hour_ends_at
    FROM (SELECT *, greatest(hour_start, ${sql.unsafe(THIS_HOUR)}) AS hour FROM ledger_cap
      WHERE id = ANY(${capIds as Uuid[]}::uuid[])) c`;
}
