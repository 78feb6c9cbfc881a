import { ApiError, invalidRequest, noSuch } from './api-error.ts';
import type { Session } from './objects.ts';
import { completePayment, createPayment, getPayment } from './payments.ts';
import { newId, type World } from './world.ts';

export type SessionInput = {
  amount: number;
  currency: string;
  cancel_url: string | null;
  client_reference_id: string | null;
  expires_at: number | undefined;
  metadata: Record<string, string>;
  paymentMetadata: Record<string, string>;
  success_url: string;
};

const EXPIRES_SECONDS_MIN = 30 * 60;
const EXPIRES_SECONDS_MAX = 24 * 60 * 60;
/** The request took its time to get here. */
const SLACK_SECONDS = 60;

/** POST /v1/checkout/sessions. */
export function createSession(world: World, input: SessionInput): Session {
  const { amount, expires_at = world.now() + EXPIRES_SECONDS_MAX, paymentMetadata, ...fields } = input;
  const inSeconds = expires_at - world.now();
  if (inSeconds < EXPIRES_SECONDS_MIN - SLACK_SECONDS || inSeconds > EXPIRES_SECONDS_MAX + SLACK_SECONDS) {
    const message =
      'The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.';
    throw invalidRequest(message, { param: 'expires_at' });
  }
  if (amount < 50) {
    throw invalidRequest("The Checkout Session's total amount due must add up to at least $0.50 usd", {
      code: 'amount_too_small',
    });
  }
  const id = newId('cs_test');
  const session: Session = {
    ...fields,
    id,
    object: 'checkout.session',
    amount_subtotal: amount,
    amount_total: amount,
    created: world.now(),
    customer: null,
    expires_at,
    livemode: false,
    mode: 'payment',
    payment_intent: null,
    payment_method_types: ['card'],
    payment_status: 'unpaid',
    status: 'open',
    ui_mode: 'hosted_page',
    url: `${world.apiBase}/c/pay/${id}`,
  };
  world.sessions.set(id, { session, paymentMetadata });
  return session;
}

/** The session, after what time alone did to it. */
export function getSession(world: World, id: string): Session {
  const found = world.sessions.get(id);
  if (!found) throw noSuch('checkout.session', id, 'session');
  const { session } = found;
  if (session.status === 'open' && session.expires_at <= world.now()) expire(world, session);
  return session;
}

/** POST /v1/checkout/sessions/:id/expire. */
export function expireSession(world: World, id: string): Session {
  const session = getSession(world, id);
  if (session.status !== 'open') {
    const message = `Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of ${session.status}.`;
    throw invalidRequest(message);
  }
  expire(world, session);
  return session;
}

function expire(world: World, session: Session): void {
  session.status = 'expired';
  session.url = null;
  world.emit('checkout.session.expired', session);
}

/** What the page's button does. A declined card leaves the session open, as at Stripe. */
export function paySession(world: World, id: string, method: string): Session {
  const session = getSession(world, id);
  if (session.status !== 'open') {
    throw new ApiError(400, { message: `This Checkout Session is ${session.status}.` });
  }
  const payment = createPayment(world, {
    amount: session.amount_total,
    currency: session.currency,
    confirm: true,
    capture_method: 'automatic_async',
    automatic_payment_methods: null,
    description: null,
    metadata: world.sessions.get(id)?.paymentMetadata ?? {},
    payment_method: method,
    spt: undefined,
  });
  if (payment.status === 'requires_action') {
    throw new ApiError(402, { message: 'Your card needs authentication.' });
  }
  session.payment_intent = payment.id;
  session.status = 'complete';
  session.url = null;
  if (payment.status === 'succeeded') session.payment_status = 'paid';
  world.emit('checkout.session.completed', session);
  return session;
}

/** What a bank says days after its customer paid a session. */
export function completeSession(world: World, id: string, isPaid: boolean): Session {
  const session = getSession(world, id);
  completePayment(world, getPayment(world, session.payment_intent ?? ''), isPaid);
  if (isPaid) session.payment_status = 'paid';
  world.emit(`checkout.session.async_payment_${isPaid ? 'succeeded' : 'failed'}`, session);
  return session;
}
