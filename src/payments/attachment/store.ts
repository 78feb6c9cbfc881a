import { bucketOf, type Uuid } from '../../core/ids.ts';
import type { Queryable } from '../../db/index.ts';
import { type Claim, claimIdOf } from '../claim.ts';
import { type ClaimRow, markAnswer, toClaim } from '../store.ts';

/** A credential that may stay unused, as its claim would name it. */
export type Unused = { claimKey: string; payer: string; quoteHash: Buffer | null };

type Used = ClaimRow & { isAttached: boolean; ownQuoteHash: Buffer | null };

/**
 * What a credential was used for: its own claim, or the earlier one it is attached to, then with the hash of the quote
 * that this credential came with.
 */
export async function findUse(sql: Queryable, claimKey: string): Promise<Claim | undefined> {
  const id = claimIdOf(claimKey);
  const [row] = await sql<Used[]>`
    SELECT c.*, false AS is_attached, NULL::bytea AS own_quote_hash FROM payment_claim c WHERE c.id = ${id}
    UNION ALL
    SELECT c.*, true, a.quote_hash FROM payment_attachment a JOIN payment_claim c ON c.id = a.claim_id
    WHERE a.id = ${id} AND a.bucket = ${bucketOf(id)}
    ORDER BY is_attached LIMIT 1`;
  if (!row) return undefined;
  const { isAttached, ownQuoteHash, ...claim } = row;
  return { ...toClaim(claim), quoteHash: isAttached ? ownQuoteHash : claim.quoteHash };
}

export async function isAttached(sql: Queryable, id: Uuid): Promise<boolean> {
  const rows = await sql`SELECT 1 FROM payment_attachment WHERE id = ${id} AND bucket = ${bucketOf(id)}`;
  return rows.length > 0;
}

/**
 * Hands an owed answer to a payer who signed again for the same request, and attaches the new credential to it: one of
 * those who ask at once gets it. A failure is owed when its payment became credit, and not when nobody paid or it
 * bought nothing here.
 */
export async function takeOwedClaim(
  sql: Queryable,
  credential: Unused,
  demand: { requestDigest: string; purpose: string; since: Date; worker: string },
): Promise<Claim | undefined> {
  const id = claimIdOf(credential.claimKey);
  // A claim that is locked is being settled at this moment: to pass over it would charge its payer twice.
  const [row] = await sql<(ClaimRow & { isAttached: boolean })[]>`
    WITH owed AS (
      UPDATE payment_claim SET answer_state = 'waiting', worker = CASE WHEN state = 'running' THEN worker ELSE ${demand.worker} END
      WHERE (id, bucket) IN (SELECT id, bucket FROM payment_claim
        WHERE payer = ${credential.payer} AND request_digest = ${demand.requestDigest} AND purpose = ${demand.purpose}
          AND created_at > ${demand.since} AND answer_state = 'lost'
          AND (state <> 'failed' OR (reference IS NOT NULL AND failure ->> 'problem' <> 'credential-used'))
        ORDER BY created_at FOR UPDATE LIMIT 1)
      RETURNING *),
    attached AS (
      INSERT INTO payment_attachment (bucket, id, claim_id, quote_hash)
      SELECT ${bucketOf(id)}::smallint, ${id}::uuid, owed.id, ${credential.quoteHash}::bytea FROM owed
      WHERE NOT EXISTS (SELECT FROM payment_claim WHERE id = ${id})
      ON CONFLICT (id, bucket) DO NOTHING RETURNING 1)
    SELECT owed.*, EXISTS (SELECT FROM attached) AS is_attached FROM owed`;
  if (!row) return undefined;
  const { isAttached, ...claim } = row;
  if (isAttached) return toClaim(claim);
  // The same credential was used an instant ago: this answer is for the payer's next.
  await markAnswer(sql, claim.id as Uuid, 'lost');
  return undefined;
}
