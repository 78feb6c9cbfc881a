import type { Sql } from '../../db/index.ts';

export type PruneSlice = { olderThanMs: number; rowsMax: number };

/**
 * Takes from delivered calls what only settling them needed: the payment's form and the address it was for. The
 * row itself stays for good, so the same credential or `Idempotency-Key` is answered 410 however late it
 * comes. Waits until the stored answer is gone and nothing can undo the money; a claim is `delivered` in the commit
 * that closes its exposure, so none is open. Answers how many.
 */
export async function shrinkDeliveredClaims(sql: Sql, slice: PruneSlice): Promise<number> {
  const result = await sql`UPDATE payment_claim SET intent = NULL, context = context - 'resourceUrl'
    WHERE (id, bucket) IN (SELECT c.id, c.bucket FROM payment_claim c
      WHERE c.state = 'delivered' AND c.purpose = 'call' AND c.intent IS NOT NULL AND c.final_at IS NOT NULL
        AND c.closed_at < now() - ${slice.olderThanMs} * interval '1 millisecond'
        AND NOT EXISTS (SELECT FROM payment_answer a WHERE a.id = c.id AND a.bucket = c.bucket)
      LIMIT ${slice.rowsMax} FOR UPDATE OF c SKIP LOCKED)`;
  return result.count;
}

/**
 * Forgets claims that took no money and can take none: the rail's last word on the credential was that it can never
 * move (`next_attempt_at` is infinity then), or no rail was asked at all. Whoever repeats one was never charged for
 * it. Answers how many.
 */
export async function deleteUnpaidClaims(sql: Sql, slice: PruneSlice): Promise<number> {
  const result = await sql`DELETE FROM payment_claim
    WHERE (id, bucket) IN (SELECT c.id, c.bucket FROM payment_claim c
      WHERE c.closed_at IS NOT NULL AND c.reference IS NULL AND (c.state = 'failed' OR c.amount = 0)
        AND (c.rail IS NULL OR (c.state = 'failed' AND c.next_attempt_at = 'infinity'))
        AND c.closed_at < now() - ${slice.olderThanMs} * interval '1 millisecond'
        AND NOT EXISTS (SELECT FROM payment_answer a WHERE a.id = c.id AND a.bucket = c.bucket)
        AND NOT EXISTS (SELECT FROM ledger_exposure e WHERE e.id = c.id AND e.state NOT IN ('void', 'posted'))
      LIMIT ${slice.rowsMax} FOR UPDATE OF c SKIP LOCKED)`;
  return result.count;
}
