import { withTransaction } from '../db/index.ts';
import { hastenSettlement, insertWebhookEvent, type WebhookEvent } from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';

/**
 * Takes a provider's word as a hint and no more: the claims it names are settled now and not at their next
 * turn, by asking the provider. So an event may come twice, late, in any order, or never.
 */
export async function receiveWebhook(
  deps: Pick<GatewayDeps, 'sql' | 'log'>,
  event: WebhookEvent,
): Promise<'new' | 'seen'> {
  const { id, type } = event;
  const hastened = await withTransaction(deps.sql, async (tx) => {
    if (!(await insertWebhookEvent(tx, event))) return undefined;
    const hits = [];
    for (const claimKey of event.claimKeys) {
      if (await hastenSettlement(tx, claimKey)) hits.push(claimKey);
    }
    // Told before the event is noted: one that a crash undoes is told again, and an operator rather twice than never.
    if (event.alarm) deps.log.error({ id, ...event.alarm.fields }, event.alarm.message);
    return hits;
  });
  if (hastened === undefined) return 'seen';
  deps.log.info({ id, type, claims: hastened.length }, 'a webhook event');
  return 'new';
}
