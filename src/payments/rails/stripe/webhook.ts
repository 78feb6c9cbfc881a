import Stripe from 'stripe';
import { z } from 'zod';
import type { Clock } from '../../../core/clock.ts';
import type { WebhookEvent, WebhookReader } from '../../webhook/webhook.ts';
import { CLAIM_METADATA } from './identity.ts';

/** How old a signature may be (Stripe, Verify webhook signatures); and how far its clock may be ahead. */
const TOLERANCE_SECONDS = 300;
const HEADER_CHARS_MAX = 4_096;

const objectSchema = z.looseObject({
  id: z.string(),
  metadata: z.record(z.string(), z.string()).nullish(),
});
const eventSchema = z.object({
  id: z.string().regex(/^evt_[A-Za-z0-9_]{1,250}$/),
  type: z.string().max(200),
  data: z.object({ object: objectSchema }),
});
type StripeEvent = z.infer<typeof eventSchema>;

/** Reads Stripe's notifications; while a secret is being replaced, each of them signs. */
export function createStripeWebhook(deps: { secrets: readonly string[]; clock: Clock }): WebhookReader {
  return {
    read(content, signature) {
      if (signature === undefined || signature.length > HEADER_CHARS_MAX) {
        return { kind: 'refused', reason: 'The Stripe-Signature header is missing or too long.' };
      }
      const payload = Buffer.from(content);
      const receivedAt = deps.clock.now().getTime();
      if (isAhead(signature, receivedAt) || !isSigned(deps.secrets, payload, signature, receivedAt)) {
        return { kind: 'refused', reason: 'The signature is not one of Stripe for this body and time.' };
      }
      const event = eventSchema.safeParse(parseJson(payload.toString('utf8')));
      if (event.success) return { kind: 'event', event: toEvent(event.data) };
      return { kind: 'refused', reason: 'The body is not an event of the Stripe API.' };
    },
  };
}

function isSigned(secrets: readonly string[], payload: Buffer, header: string, receivedAt: number): boolean {
  return secrets.some((secret) => {
    try {
      Stripe.webhooks.constructEvent(payload, header, secret, TOLERANCE_SECONDS, undefined, receivedAt);
      return true;
    } catch {
      // It says why it is not signed, and every reason is the same to a stranger.
      return false;
    }
  });
}

/** The SDK looks for signatures that are too old, not for those of the future. */
function isAhead(header: string, receivedAt: number): boolean {
  const seconds = Number(/(?:^|,)t=([0-9]{1,12})(?:,|$)/.exec(header)?.[1]);
  return !(seconds * 1_000 <= receivedAt + TOLERANCE_SECONDS * 1_000);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toEvent({ id, type, data: { object } }: StripeEvent): WebhookEvent {
  return { id: `stripe:${id}`, type, claimKeys: readClaimKeys(type, object), alarm: readAlarm(type, object) };
}

/** A payment of a Checkout session names no claim: its session's own events do. */
function readClaimKeys(type: string, object: StripeEvent['data']['object']): string[] {
  if (type.startsWith('checkout.session.')) return [`stripe:${object.id}`];
  const claimKey = type.startsWith('payment_intent.') ? object.metadata?.[CLAIM_METADATA] : undefined;
  return claimKey === undefined ? [] : [claimKey];
}

function readAlarm(type: string, object: StripeEvent['data']['object']): WebhookEvent['alarm'] {
  if (!type.startsWith('charge.dispute.')) return undefined;
  const { id, charge, payment_intent, amount, currency, reason, status } = object;
  return {
    message: 'a payment is disputed at Stripe: answer it there, and the books need a correction by hand',
    fields: { type, dispute: id, charge, payment_intent, amount, currency, reason, status },
  };
}
