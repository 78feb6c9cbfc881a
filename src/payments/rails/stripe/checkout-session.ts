import { z } from 'zod';
import { addMs, toUnixSeconds } from '../../../core/clock.ts';
import { formatDollars } from '../../../core/money.ts';
import type { Checkout, CheckoutInput, CheckoutOpening } from '../../checkout.ts';
import { type CheckoutForm, expectForm } from '../../form.ts';
import type { Settlement, SettlementIntent } from '../../rail.ts';
import { type StripeRailDeps, toCentsRoundedUp, UNITS_MAX, within } from './context.ts';
import { claimKeyOf, idempotencyKeyOf, payerOf, UNIT } from './identity.ts';
import { judgePayment, paymentIntentSchema, retrievePayment } from './payment-intent.ts';
import { readRefusal } from './refusal.ts';

/** Stripe takes 30 minutes to 24 hours; each open session is asked about until it is over. */
const SESSION_MS = 40 * 60_000;
/** A payment begun in the last second of a session is decided some minutes later. */
const SESSION_SLACK_MS = 10 * 60_000;
const PAYMENT = ['payment_intent.latest_charge.balance_transaction'];
const FAILED = ['canceled', 'requires_payment_method'];

const sessionSchema = z.object({
  id: z.string(),
  url: z.string().nullish(),
  expires_at: z.int(),
  status: z.enum(['open', 'complete', 'expired']).nullish(),
  payment_status: z.enum(['paid', 'unpaid', 'no_payment_required']),
  amount_total: z.int().nullish(),
  currency: z.string().nullish(),
  payment_intent: z.union([z.string(), paymentIntentSchema]).nullish(),
});
type Session = z.infer<typeof sessionSchema>;

/** Opens Checkout sessions, Stripe's own payment page (API reference, Checkout Sessions). */
export function createStripeCheckout(deps: StripeRailDeps): Checkout {
  return {
    async open(input, signal) {
      const units = toCentsRoundedUp(input.amount);
      if (input.amount < deps.amountMin || units > UNITS_MAX) {
        const reason = `Checkout takes from ${formatDollars(deps.amountMin)} to $999,999.99.`;
        return { kind: 'refused', reason };
      }
      try {
        return toOpening(units, await createSession(deps, input, units, signal));
      } catch (cause) {
        const refusal = readRefusal(cause);
        if (refusal) deps.log.error({ err: cause }, 'Stripe refuses the Checkout sessions we ask for');
        return { kind: 'unavailable', cause };
      }
    },
  };
}

async function createSession(
  deps: StripeRailDeps,
  input: CheckoutInput,
  units: bigint,
  signal: AbortSignal,
): Promise<Session> {
  const metadata = { millicent_reference: input.reference, millicent_account: input.accountId };
  // Fixed for all attempts: one idempotency key with other parameters is an error.
  const expiresAt = toUnixSeconds(addMs(deps.clock.now(), SESSION_MS));
  const session = await deps.client.call(within(signal, deps.timeouts.settleMs), (stripe) =>
    stripe.checkout.sessions.create(
      {
        mode: 'payment',
        ui_mode: 'hosted_page',
        client_reference_id: input.accountId,
        line_items: [
          {
            quantity: 1,
            price_data: {
              currency: 'usd',
              unit_amount: Number(units),
              product_data: { name: input.description },
            },
          },
        ],
        metadata,
        payment_intent_data: { metadata },
        success_url: input.paidUrl,
        cancel_url: input.leftUrl,
        expires_at: expiresAt,
      },
      { idempotencyKey: idempotencyKeyOf('checkout', input.reference) },
    ),
  );
  return sessionSchema.parse(session);
}

function toOpening(units: bigint, session: Session): CheckoutOpening {
  if (session.url == null)
    return { kind: 'unavailable', cause: new Error(`session ${session.id} has no page`) };
  const form: CheckoutForm = { kind: 'checkout', session: session.id };
  const expiresAt = new Date(session.expires_at * 1_000);
  return {
    kind: 'open',
    sessionId: session.id,
    url: session.url,
    expiresAt,
    intent: {
      claimKey: claimKeyOf(form),
      payer: payerOf(form),
      unit: UNIT,
      units,
      form,
      validUntil: addMs(expiresAt, SESSION_SLACK_MS),
    },
  };
}

/** Asks whether a session was paid: settling it is the payer's doing, so this moves nothing. */
export async function lookUpCheckout(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  try {
    const { session: id } = expectForm(intent.form, 'checkout');
    const session = await retrieveSession(deps, id, signal);
    if (session.payment_status === 'paid') return await settlePaid(deps, intent, session, signal);
    if (session.status === 'expired') return { kind: 'refused', reason: 'The Checkout session has expired.' };
    if (session.status === 'complete' && hasFailed(session)) {
      return { kind: 'refused', reason: 'The payment of the Checkout session failed.' };
    }
    return { kind: 'unknown', cause: new Error(`session ${id} is ${session.status} and not paid`) };
  } catch (cause) {
    return { kind: 'unknown', cause };
  }
}

/** Closes a session nobody should pay any more; one that is over stays as it is. */
export async function expireCheckout(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<void> {
  const { session: id } = expectForm(intent.form, 'checkout');
  const session = await retrieveSession(deps, id, signal);
  if (session.status !== 'open') return;
  const idempotencyKey = idempotencyKeyOf('cancel', intent.claimKey);
  await deps.client.call(signal, (stripe) => stripe.checkout.sessions.expire(id, {}, { idempotencyKey }));
}

async function retrieveSession(deps: StripeRailDeps, id: string, signal: AbortSignal): Promise<Session> {
  const session = await deps.client.call(signal, (stripe) =>
    stripe.checkout.sessions.retrieve(id, { expand: PAYMENT }),
  );
  return sessionSchema.parse(session);
}

async function settlePaid(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  session: Session,
  signal: AbortSignal,
): Promise<Settlement> {
  const { amount_total: total, currency, payment_intent: payment, id } = session;
  if (currency !== 'usd' || total == null || BigInt(total) !== intent.units || payment == null) {
    deps.log.error({ id, total, currency, asked: intent.units.toString() }, 'a session was paid another sum');
    return { kind: 'unknown', cause: new Error(`session ${id} was paid ${total} ${currency}`) };
  }
  const paid = typeof payment === 'string' ? await retrievePayment(deps, payment, signal) : payment;
  return judgePayment(deps, intent, paid);
}

/** A payment that takes days (a bank debit) completes its session first and can fail after. */
function hasFailed({ payment_intent: payment }: Session): boolean {
  return payment != null && typeof payment === 'object' && FAILED.includes(payment.status);
}
