import type { Sql } from '../../db/index.ts';

export type PruneSlice = { olderThanMs: number; rowsMax: number };

/**
 * Forgets holds that were given back long ago: no entry, balance, cap or receipt says anything of them. Captured ones
 * stay for good, as the check proves each by its entries. Answers how many.
 */
export async function deleteGivenBackHolds(sql: Sql, slice: PruneSlice): Promise<number> {
  const result = await sql`DELETE FROM ledger_hold
    WHERE (id, bucket) IN (SELECT id, bucket FROM ledger_hold
      WHERE state IN ('released', 'expired') AND closed_at < now() - ${slice.olderThanMs} * interval '1 millisecond'
      LIMIT ${slice.rowsMax} FOR UPDATE SKIP LOCKED)`;
  return result.count;
}

/**
 * Forgets memos of money that came, or never will, once no limit counts them any more (a payer's month). One whose
 * payment a chain may still take back stays. Answers how many.
 */
export async function deleteClosedExposures(sql: Sql, slice: PruneSlice): Promise<number> {
  const result = await sql`DELETE FROM ledger_exposure
    WHERE (id, bucket) IN (SELECT e.id, e.bucket FROM ledger_exposure e
      WHERE e.state IN ('void', 'posted') AND e.updated_at < now() - ${slice.olderThanMs} * interval '1 millisecond'
        AND NOT EXISTS (SELECT FROM payment_claim c
          WHERE c.id = e.id AND c.reference IS NOT NULL AND c.final_at IS NULL)
      LIMIT ${slice.rowsMax} FOR UPDATE OF e SKIP LOCKED)`;
  return result.count;
}
