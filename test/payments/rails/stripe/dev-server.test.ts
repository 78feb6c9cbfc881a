import { Challenge, Receipt } from 'mppx';
import { Mppx as MppxClient, stripe as stripeMethod } from 'mppx/client';
import { Mppx, stripe as stripeServerMethod } from 'mppx/server';
import Stripe from 'stripe';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type StripeServer, startStripe } from '../../../../scripts/dev/stripe.ts';

const PREVIEW = '2026-07-29.preview';
let server: StripeServer;
let sdk: Stripe;
beforeAll(async () => {
  server = await startStripe();
  const { hostname: host, port } = new URL(server.apiBase);
  sdk = new Stripe(server.secretKey, { host, port, protocol: 'http', maxNetworkRetries: 0 });
});
afterEach(() => server.faults.clear());
afterAll(() => server.close());

/** The API without its client. */
async function call(method: string, path: string, fields = '', headers: Record<string, string> = {}) {
  const response = await fetch(server.apiBase + path, {
    method,
    headers: {
      authorization: `Bearer ${server.secretKey}`,
      'content-type': 'application/x-www-form-urlencoded',
      ...headers,
    },
    ...(method === 'POST' ? { body: fields } : {}),
  });
  const body = (await response.json()) as Record<string, unknown> & { error?: Record<string, unknown> };
  return { status: response.status, body, headers: response.headers };
}

const CARD =
  'amount=500&currency=usd&confirm=true&payment_method=pm_card_visa&automatic_payment_methods[enabled]=true';

test('the stock mppx client pays the stock mppx server through it, with Stripe’s own SDK', async () => {
  const mppx = Mppx.create({
    methods: [
      stripeServerMethod.charge({
        ...{ client: sdk, networkId: server.networkId, paymentMethodTypes: ['card'] },
        ...{ currency: 'usd', decimals: 2 },
      }),
    ],
    secretKey: 's'.repeat(32),
    realm: 'api.example.com',
  });
  const serve = async (request: Request) => {
    const result = await mppx.charge({ amount: '5.00' })(request);
    return result.status === 402 ? result.challenge : result.withReceipt(Response.json({ ok: true }));
  };
  const unpaid = await serve(new Request('https://api.example.com/x'));
  expect(unpaid.status).toBe(402);
  expect(Challenge.fromResponse(unpaid).request).toMatchObject({ amount: '500', currency: 'usd' });
  const client = MppxClient.create({
    polyfill: false,
    methods: [
      stripeMethod({
        paymentMethod: 'pm_card_visa',
        async createToken({ paymentMethod, amount, currency, expiresAt, networkId }) {
          const fields = new URLSearchParams({
            payment_method: String(paymentMethod),
            'usage_limits[currency]': currency,
            'usage_limits[max_amount]': amount,
            'usage_limits[expires_at]': String(expiresAt),
            'seller_details[network_id]': String(networkId),
          });
          const path = '/v1/test_helpers/shared_payment/granted_tokens';
          const auth = { authorization: `Bearer ${server.agentKey}` };
          const { body } = await call('POST', path, fields.toString(), auth);
          return String(body.id);
        },
      }),
    ],
  });
  const credential = await client.createCredential(unpaid);
  const paid = await serve(
    new Request('https://api.example.com/x', { headers: { authorization: credential } }),
  );
  expect(paid.status).toBe(200);
  const reference = Receipt.fromResponse(paid).reference;
  expect(server.payments().find(({ id }) => id === reference)).toMatchObject({
    status: 'succeeded',
    amount: 500,
  });
});

test('a key replays its first answer, errors too, and takes no other parameters', async () => {
  const key = { 'idempotency-key': 'k1' };
  const first = await call('POST', '/v1/payment_intents', CARD, key);
  const again = await call('POST', '/v1/payment_intents', CARD, key);
  expect(again).toMatchObject({ status: 200, body: { id: first.body.id } });
  expect([first, again].map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([null, 'true']);
  const other = await call('POST', '/v1/payment_intents', CARD.replace('500', '600'), key);
  expect(other).toMatchObject({ status: 400, body: { error: { type: 'idempotency_error' } } });
  const declined = CARD.replace('pm_card_visa', 'pm_card_chargeDeclined');
  for (const replayed of [null, 'true']) {
    const answer = await call('POST', '/v1/payment_intents', declined, { 'idempotency-key': 'k2' });
    expect(answer).toMatchObject({ status: 402, body: { error: { code: 'card_declined' } } });
    expect(answer.headers.get('idempotent-replayed')).toBe(replayed);
  }
});

test('a key that is in use is 409, and one whose request never began may be used again', async () => {
  server.faults.delay('payment.create', 100);
  const key = { 'idempotency-key': 'k3' };
  const answers = await Promise.all([1, 2, 3].map(() => call('POST', '/v1/payment_intents', CARD, key)));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409]);
  expect(answers.find(({ status }) => status === 409)?.body.error?.code).toBe('idempotency_key_in_use');
  const unknown = await call('POST', '/v1/payment_intents', `${CARD}&odd=1`, { 'idempotency-key': 'k4' });
  expect(unknown).toMatchObject({
    status: 400,
    body: { error: { code: 'parameter_unknown', param: 'odd' } },
  });
  expect((await call('POST', '/v1/payment_intents', CARD, { 'idempotency-key': 'k4' })).status).toBe(200);
});

test.each([
  ['no key', 'GET', '/v1/balance', '', { authorization: '' }, 401, undefined],
  ['another key', 'GET', '/v1/balance', '', { authorization: 'Bearer sk_test_x' }, 401, undefined],
  ['an unknown address', 'GET', '/v1/nothing', '', {}, 404, undefined],
  ['a missing parameter', 'POST', '/v1/payment_intents', 'amount=500', {}, 400, 'parameter_missing'],
  [
    'no integer',
    'POST',
    '/v1/payment_intents',
    'amount=x&currency=usd',
    {},
    400,
    'parameter_invalid_integer',
  ],
  ['too little', 'POST', '/v1/payment_intents', 'amount=49&currency=usd', {}, 400, 'amount_too_small'],
  ['nothing by that id', 'GET', '/v1/payment_intents/pi_x', '', {}, 404, 'resource_missing'],
  [
    'a token by the wrong version',
    'GET',
    '/v1/shared_payment/granted_tokens/spt_x',
    '',
    {},
    400,
    'parameter_unknown',
  ],
  ['an old name', 'POST', '/v1/checkout/sessions', 'mode=payment&ui_mode=hosted', {}, 400, undefined],
] as const)('%s is answered as Stripe does', async (_name, method, path, fields, headers, status, code) => {
  const answer = await call(method, path, fields, { ...headers });
  expect(answer.status).toBe(status);
  expect(answer.body.error).toMatchObject({ type: 'invalid_request_error', message: expect.any(String) });
  expect(answer.body.error?.code).toBe(code);
});

test('an authorisation is captured once, and what is over cannot be cancelled', async () => {
  const payment = await sdk.paymentIntents.create({
    ...{
      amount: 1_000,
      currency: 'usd',
      confirm: true,
      capture_method: 'manual',
      payment_method: 'pm_card_visa',
    },
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
  });
  expect(payment).toMatchObject({ status: 'requires_capture', amount_capturable: 1_000, amount_received: 0 });
  const captured = await sdk.paymentIntents.capture(payment.id, {
    expand: ['latest_charge.balance_transaction'],
  });
  expect(captured).toMatchObject({
    ...{ status: 'succeeded', amount_received: 1_000 },
    latest_charge: { captured: true, balance_transaction: { amount: 1_000, fee: 59, net: 941 } },
  });
  const state = { statusCode: 400, code: 'payment_intent_unexpected_state' };
  await expect(sdk.paymentIntents.capture(payment.id)).rejects.toMatchObject(state);
  await expect(sdk.paymentIntents.cancel(payment.id)).rejects.toMatchObject(state);
});

test('refunds leave the balance, and the fee stays with Stripe', async () => {
  const payment = await sdk.paymentIntents.create({
    ...{ amount: 1_000, currency: 'usd', confirm: true, payment_method: 'pm_card_visa' },
  });
  const before = server.sums();
  const refund = await sdk.refunds.create({ payment_intent: payment.id, amount: 400 });
  expect(refund).toMatchObject({ status: 'succeeded', amount: 400 });
  await sdk.refunds.create({ payment_intent: payment.id });
  expect(server.sums()).toEqual({ gross: before.gross - 1_000, fees: before.fees, net: before.net - 1_000 });
  await expect(sdk.refunds.create({ payment_intent: payment.id })).rejects.toMatchObject({
    code: 'charge_already_refunded',
  });
});

test('lists are pages, newest first, and the balance is the sum of its transactions', async () => {
  const all = server
    .payments()
    .map(({ id }) => id)
    .reverse();
  const seen: string[] = [];
  for await (const { id } of sdk.paymentIntents.list({ limit: 2 })) seen.push(id);
  expect(seen).toEqual(all);
  const { available, pending } = await sdk.balance.retrieve();
  const [now, later] = [available, pending].map(([row]) => row?.amount ?? 0);
  expect((now ?? 0) + (later ?? 0)).toBe(server.sums().net);
});

test('a token pays once, for its seller, within its limits, until it is revoked', async () => {
  const pay = (token: string, amount = 500) =>
    call(
      'POST',
      '/v1/payment_intents',
      `amount=${amount}&currency=usd&confirm=true&shared_payment_granted_token=${token}`,
      { 'stripe-version': PREVIEW },
    );
  const look = async (token: string) =>
    call('GET', `/v1/shared_payment/granted_tokens/${token}`, '', { 'stripe-version': PREVIEW });
  const token = server.grantToken({ maxAmount: 500 });
  expect((await pay(token, 501)).status).toBe(400);
  expect((await pay(token)).body).toMatchObject({ status: 'succeeded' });
  expect((await look(token)).body).toMatchObject({ deactivated_reason: 'consumed' });
  expect((await pay(token)).status).toBe(400);
  expect((await look(server.grantToken({ maxAmount: 500, networkId: 'profile_other' }))).status).toBe(404);
  const revoked = server.grantToken({ maxAmount: 500 });
  await call('POST', `/v1/test_helpers/shared_payment/granted_tokens/${revoked}/revoke`);
  expect((await look(revoked)).body).toMatchObject({ deactivated_reason: 'revoked' });
  expect((await pay(revoked)).status).toBe(400);
});

test('events are signed so that Stripe’s own SDK accepts them', () => {
  const [event] = server.events();
  const payload = JSON.stringify(event);
  const header = server.sign(payload);
  expect(Stripe.webhooks.constructEvent(payload, header, server.webhookSecret)).toMatchObject({
    id: event?.id,
  });
  expect(() => Stripe.webhooks.constructEvent(`${payload} `, header, server.webhookSecret)).toThrow();
});
