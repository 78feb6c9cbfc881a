import { bucketOf, uuidFrom } from '../../core/ids.ts';
import type { Sql, Tx } from '../../db/index.ts';
import { claimIdOf } from '../claim.ts';
import type { WebhookEvent } from './webhook.ts';

/** Notes an event. False when it was told before. */
export async function insertWebhookEvent(
  tx: Tx,
  { id, type }: Pick<WebhookEvent, 'id' | 'type'>,
): Promise<boolean> {
  const row = { id, type, bucket: bucketOf(uuidFrom('webhook-event', id)) };
  const rows = await tx`INSERT INTO payment_webhook_event ${tx(row)}
    ON CONFLICT (id, bucket) DO NOTHING RETURNING id`;
  return rows.length === 1;
}

/**
 * Makes a settlement due now. One that a request is at stays with it: were the reconciler quicker, the money
 * of a call that is about to run would become credit. No request waits for a claim that no wire brought, and
 * none any more for one the reconciler had before.
 */
export async function hastenSettlement(tx: Tx, claimKey: string): Promise<boolean> {
  const rows = await tx`UPDATE payment_claim SET next_attempt_at = now()
    WHERE id = ${claimIdOf(claimKey)} AND state = 'settling' AND (attempts > 0 OR wire IS NULL) RETURNING id`;
  return rows.length === 1;
}

/** Forgets events that nobody sends again: providers retry for days, and their signatures age in minutes. */
export async function pruneWebhookEvents(
  sql: Sql,
  input: { olderThanMs: number; rowsMax: number },
): Promise<number> {
  const result = await sql`DELETE FROM payment_webhook_event WHERE (id, bucket) IN (
    SELECT id, bucket FROM payment_webhook_event
    WHERE received_at < now() - ${input.olderThanMs} * interval '1 millisecond'
    LIMIT ${input.rowsMax} FOR UPDATE SKIP LOCKED)`;
  return result.count;
}
