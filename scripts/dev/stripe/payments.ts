import { cardError, invalidRequest, noSuch } from './api-error.ts';
import { captureCharge, openCharge, PAYMENT_METHODS } from './money.ts';
import type { PaymentIntent, PaymentStatus } from './objects.ts';
import { newId, type World } from './world.ts';

export type PaymentInput = {
  amount: number;
  currency: string;
  confirm: boolean;
  capture_method: PaymentIntent['capture_method'];
  automatic_payment_methods: PaymentIntent['automatic_payment_methods'];
  description: string | null;
  metadata: Record<string, string>;
  payment_method: string | undefined;
  spt: string | undefined;
};

const AMOUNT_MIN = 50;
const AMOUNT_MAX = 99_999_999;

/** POST /v1/payment_intents. */
export function createPayment(world: World, input: PaymentInput): PaymentIntent {
  checkAmount(input);
  const method = input.spt === undefined ? input.payment_method : takeToken(world, input.spt, input);
  const payment: PaymentIntent = {
    id: newId('pi'),
    object: 'payment_intent',
    amount: input.amount,
    amount_capturable: 0,
    amount_received: 0,
    automatic_payment_methods: input.automatic_payment_methods,
    canceled_at: null,
    cancellation_reason: null,
    capture_method: input.capture_method,
    client_secret: newId('secret'),
    confirmation_method: 'automatic',
    created: world.now(),
    currency: input.currency,
    description: input.description,
    last_payment_error: null,
    latest_charge: null,
    livemode: false,
    metadata: input.metadata,
    next_action: null,
    payment_method: method ?? null,
    payment_method_types: ['card'],
    status: method === undefined ? 'requires_payment_method' : 'requires_confirmation',
  };
  world.payments.set(payment.id, payment);
  world.emit('payment_intent.created', payment);
  if (input.confirm && method !== undefined) confirm(world, payment, method, input.spt);
  return payment;
}

function checkAmount({ amount, currency }: PaymentInput): void {
  if (currency !== 'usd') throw invalidRequest(`Invalid currency: ${currency}.`, { param: 'currency' });
  if (amount < AMOUNT_MIN) {
    const message = 'Amount must be at least $0.50 usd';
    throw invalidRequest(message, { code: 'amount_too_small', param: 'amount' });
  }
  if (amount > AMOUNT_MAX) {
    const message = 'Amount must be no more than $999,999.99';
    throw invalidRequest(message, { code: 'amount_too_large', param: 'amount' });
  }
}

/** What a granted token lets its seller charge: its payment method. */
function takeToken(world: World, id: string, input: PaymentInput): string {
  const param = 'shared_payment_granted_token';
  const grant = world.tokens.get(id);
  if (!grant || grant.network !== world.networkId)
    throw noSuch('shared payment granted token', id, param, 400);
  const { token } = grant;
  const refuse = (message: string) => invalidRequest(message, { param });
  if (token.deactivated_at !== null) throw refuse('This SharedPaymentGrantedToken has been deactivated.');
  const limits = token.usage_limits;
  if (limits.expires_at !== null && limits.expires_at <= world.now()) {
    throw refuse('This SharedPaymentGrantedToken has expired.');
  }
  if (limits.currency !== input.currency || limits.max_amount < input.amount) {
    throw refuse('The amount exceeds the usage limits of the SharedPaymentGrantedToken.');
  }
  const current = world.payments.get(grant.payment ?? '');
  if (current && current.status !== 'canceled' && current.status !== 'requires_payment_method') {
    throw refuse('This SharedPaymentGrantedToken is in use by another PaymentIntent.');
  }
  return grant.payment_method;
}

function confirm(world: World, payment: PaymentIntent, method: string, spt: string | undefined): void {
  const behaviour = PAYMENT_METHODS[method];
  const grant = world.tokens.get(spt ?? '');
  if (grant) grant.payment = payment.id;
  switch (behaviour?.kind) {
    case 'succeeds':
      authorise(world, payment, method);
      return;
    case 'declines': {
      const { code, declineCode: decline_code, message } = behaviour;
      payment.status = 'requires_payment_method';
      payment.payment_method = null;
      payment.last_payment_error = { type: 'card_error', code, decline_code, message };
      world.emit('payment_intent.payment_failed', payment);
      throw cardError({ code, decline_code, message, payment_intent: structuredClone(payment) });
    }
    case 'needs-action':
      payment.status = 'requires_action';
      payment.next_action = { type: 'use_stripe_sdk' };
      world.emit('payment_intent.requires_action', payment);
      return;
    case 'takes-days':
      payment.status = 'processing';
      world.emit('payment_intent.processing', payment);
      return;
    default:
      throw noSuch('PaymentMethod', method, 'payment_method', 400);
  }
}

function authorise(world: World, payment: PaymentIntent, method: string): void {
  const charge = openCharge(world, payment, method);
  world.emit('charge.succeeded', charge);
  if (payment.capture_method !== 'manual') {
    finish(world, payment, payment.amount);
    return;
  }
  payment.status = 'requires_capture';
  payment.amount_capturable = payment.amount;
  world.emit('payment_intent.amount_capturable_updated', payment);
}

function finish(world: World, payment: PaymentIntent, amount: number): void {
  const charge = world.charges.get(payment.latest_charge ?? '');
  if (charge) captureCharge(world, charge, amount);
  payment.status = 'succeeded';
  payment.amount_capturable = 0;
  payment.amount_received = amount;
  consumeToken(world, payment);
  world.emit('payment_intent.succeeded', payment);
}

function consumeToken(world: World, payment: PaymentIntent): void {
  const token = [...world.tokens.values()].find((grant) => grant.payment === payment.id)?.token;
  if (!token) return;
  token.usage_details.amount_captured.value += payment.amount_received;
  token.deactivated_at = world.now();
  token.deactivated_reason = 'consumed';
}

/** A bank debit's answer, days later. */
export function completePayment(world: World, payment: PaymentIntent, isPaid: boolean): void {
  if (isPaid) {
    openCharge(world, payment, payment.payment_method ?? '');
    finish(world, payment, payment.amount);
    return;
  }
  payment.status = 'requires_payment_method';
  world.emit('payment_intent.payment_failed', payment);
}

/** The payment, after what time alone did to it: an authorisation nobody captured is cancelled. */
export function getPayment(world: World, id: string, param = 'intent'): PaymentIntent {
  const payment = world.payments.get(id);
  if (!payment) throw noSuch('payment_intent', id, param);
  const before = world.charges.get(payment.latest_charge ?? '')?.payment_method_details.card.capture_before;
  if (payment.status === 'requires_capture' && before != null && before <= world.now()) {
    release(world, payment, 'automatic');
  }
  return payment;
}

/** POST /v1/payment_intents/:id/capture. */
export function capturePayment(world: World, id: string, amount: number | undefined): PaymentIntent {
  const payment = getPayment(world, id);
  if (payment.status !== 'requires_capture') {
    throw unexpectedState(payment, 'captured', ['requires_capture']);
  }
  if (amount !== undefined && amount > payment.amount_capturable) {
    const message =
      'The requested capture amount is greater than the amount you can capture for this charge.';
    throw invalidRequest(message, { code: 'amount_too_large', param: 'amount_to_capture' });
  }
  finish(world, payment, amount ?? payment.amount_capturable);
  return payment;
}

const CANCELABLE: PaymentStatus[] = [
  'requires_payment_method',
  'requires_capture',
  'requires_confirmation',
  'requires_action',
  'processing',
];

/** POST /v1/payment_intents/:id/cancel. */
export function cancelPayment(world: World, id: string, reason: string | undefined): PaymentIntent {
  const payment = getPayment(world, id);
  if (!CANCELABLE.includes(payment.status)) throw unexpectedState(payment, 'canceled', CANCELABLE);
  release(world, payment, reason ?? null);
  return payment;
}

function release(world: World, payment: PaymentIntent, reason: string | null): void {
  const charge = world.charges.get(payment.latest_charge ?? '');
  if (charge && !charge.captured) {
    charge.amount_refunded = charge.amount;
    charge.refunded = true;
  }
  payment.status = 'canceled';
  payment.amount_capturable = 0;
  payment.canceled_at = world.now();
  payment.cancellation_reason = reason;
  world.emit('payment_intent.canceled', payment);
}

function unexpectedState(payment: PaymentIntent, what: string, allowed: PaymentStatus[]): Error {
  const message = `This PaymentIntent could not be ${what} because it has a status of ${payment.status}. Only a PaymentIntent with one of the following statuses may be ${what}: ${allowed.join(', ')}.`;
  const payment_intent = structuredClone(payment);
  return invalidRequest(message, { code: 'payment_intent_unexpected_state', payment_intent });
}
