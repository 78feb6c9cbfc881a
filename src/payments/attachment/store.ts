import type { Uuid } from '../../core/ids.ts';
import type { Queryable, Tx } from '../../db/index.ts';
import { type Claim, claimIdOf } from '../claim.ts';
import { findClaim } from '../store.ts';

/** What a credential was used for: its own claim, or the earlier one that it is attached to, as this credential sees it. */
export async function findUse(sql: Queryable, claimKey: string): Promise<Claim | undefined> {
  const own = await findClaim(sql, claimIdOf(claimKey));
  const earlier = own?.attachedTo ? await findClaim(sql, own.attachedTo) : undefined;
  return own && earlier ? attach(earlier, own) : own;
}

/** An earlier claim, as it is shown to who asks by a payment that is attached to it. */
function attach(earlier: Claim, own: Claim): Claim {
  const { quoteHash, answerState, wire, id } = own;
  return { ...earlier, quoteHash, answerState, wire, askedBy: id };
}

/** An answer that is owed, and the claim of whoever did not receive it. */
export type Owed = { claim: Claim; owedTo: Uuid };

/**
 * The oldest answer that is owed to a payer for this request, locked: one of those who ask at once gets it. A failure is
 * owed when its payment became credit, and not when nobody paid or it bought nothing here.
 */
export async function lockOwed(
  tx: Tx,
  input: { payer: string; requestDigest: string; purpose: string; since: Date },
): Promise<Owed | undefined> {
  // A claim that is locked is being settled at this moment: to pass over it would charge its payer twice.
  const [row] = await tx<{ owedTo: Uuid; claimId: Uuid }[]>`
    SELECT c.id AS owed_to, coalesce(a.id, c.id) AS claim_id
    FROM payment_claim c LEFT JOIN payment_claim a ON a.id = c.attached_to
    WHERE c.payer = ${input.payer} AND c.request_digest = ${input.requestDigest} AND c.purpose = ${input.purpose}
      AND c.created_at > ${input.since} AND c.answer_state = 'lost'
      AND (coalesce(a.state, c.state) <> 'failed' OR CASE WHEN a.id IS NULL
        THEN c.reference IS NOT NULL AND c.failure ->> 'problem' <> 'credential-used'
        ELSE a.reference IS NOT NULL AND a.failure ->> 'problem' <> 'credential-used' END)
    ORDER BY c.created_at FOR UPDATE OF c LIMIT 1`;
  const claim = row && (await findClaim(tx, row.claimId));
  return claim && { claim, owedTo: row.owedTo };
}
