import { Receipt } from 'mppx';
import { Mppx, stripe as stripeMethod } from 'mppx/client';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type StripeServer, startStripe } from '../../scripts/dev/stripe.ts';
import { reconcileRails } from '../../src/gateway/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { jsonBody, publishEcho, readAnswer, readBooks } from './fixtures.ts';

let database: TestDatabase;
let stripe: StripeServer;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  database = await createTestDatabase();
  stripe = await startStripe();
  const env = {
    STRIPE_SECRET_KEY: stripe.secretKey,
    STRIPE_NETWORK_ID: stripe.networkId,
    STRIPE_WEBHOOK_SECRETS: stripe.webhookSecret,
    STRIPE_API_BASE: stripe.apiBase,
  };
  gateway = await startTestGateway({ database, env });
  stripe.setWebhookUrl(`${gateway.url}/webhooks/stripe`);
  echo = await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents: 60_000 } });
});
afterEach(async () => {
  stripe.faults.clear();
  expect((await readBooks(gateway)).discrepancies).toEqual([]);
  // The books and the Stripe server agree to the cent, fees included.
  const { assets } = await reconcileRails(gateway.deps.http, AbortSignal.timeout(10_000));
  const asset = assets.find(({ account }) => account === 'A.stripe:usd-cent');
  expect(asset).toMatchObject({ verdict: 'agrees', external: BigInt(stripe.sums().net) });
});
afterAll(async () => {
  // First the sender, so that nothing is sent to a closed door.
  await stripe.close();
  await gateway.close();
  await database.close();
});

/** The stock client with a wallet that grants tokens on this card. */
function agentWith(paymentMethod: string) {
  return Mppx.create({
    polyfill: false,
    methods: [
      stripeMethod({
        paymentMethod,
        createToken: async ({ amount, currency, expiresAt, networkId }) =>
          stripe.grantToken({
            ...{ maxAmount: Number(amount), currency, expiresAt, paymentMethod },
            ...(networkId === undefined ? {} : { networkId }),
          }),
      }),
    ],
  });
}

const callOf = (tool: string, args: object) => jsonBody({ tool, arguments: args });
const grossOf = () => stripe.sums().gross;
test('the stock mppx client pays for one call with a card: held, run, captured, receipted', async () => {
  const before = grossOf();
  const response = await agentWith('pm_card_visa').fetch(
    gateway.url + echo.call,
    callOf('echo', { text: 'hi' }),
  );
  const body = await readAnswer(response);
  expect(response.status, JSON.stringify(body)).toBe(200);
  expect(body).toMatchObject({ ok: true, charged_mcents: 60_000 });
  const { reference } = Receipt.fromResponse(response);
  expect(stripe.payments().find(({ id }) => id === reference)).toMatchObject({
    status: 'succeeded',
    amount: 60,
  });
  expect(grossOf()).toBe(before + 60);
});

test('a call that fails gives the card its money back, and nothing is charged', async () => {
  const before = grossOf();
  const response = await agentWith('pm_card_visa').fetch(gateway.url + echo.call, callOf('fail', {}));
  const body = await readAnswer(response);
  expect(response.status, JSON.stringify(body)).toBe(502);
  expect(body.note).toBe('no charge applied');
  expect(grossOf()).toBe(before);
  expect(stripe.payments().at(-1)?.status).toBe('canceled');
});

test('a declined card is asked to pay again, and the tool does not run', async () => {
  const before = grossOf();
  const agent = agentWith('pm_card_chargeDeclinedInsufficientFunds');
  const unpaid = await gateway.fetch(echo.call, callOf('echo', { text: 'hi' }));
  const credential = await agent.createCredential(unpaid);
  const init = callOf('echo', { text: 'hi' });
  const headers = { 'content-type': 'application/json', 'payment-authorization': credential };
  const response = await gateway.fetch(echo.call, { ...init, headers });
  const body = await readAnswer(response);
  expect(response.status, JSON.stringify(body)).toBe(402);
  expect(body.detail).toBe('The card has insufficient funds.');
  expect(grossOf()).toBe(before);
});

test('one credential sent 20 times at once runs once and is charged once', async () => {
  const before = grossOf();
  const init = callOf('echo', { text: 'twenty' });
  const unpaid = await gateway.fetch(echo.call, init);
  const credential = await agentWith('pm_card_visa').createCredential(unpaid);
  const headers = { 'content-type': 'application/json', 'payment-authorization': credential };
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => gateway.fetch(echo.call, { ...init, headers })),
  );
  const statuses = answers.map(({ status }) => status);
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(0);
  expect(statuses.every((status) => status === 200 || status === 409)).toBe(true);
  expect(grossOf()).toBe(before + 60);
});

test('a capture whose answer is lost is finished by the reconciler, and the same request gets its answer', async () => {
  const before = grossOf();
  const init = callOf('echo', { text: 'lost' });
  const unpaid = await gateway.fetch(echo.call, init);
  const credential = await agentWith('pm_card_visa').createCredential(unpaid);
  const headers = { 'content-type': 'application/json', 'payment-authorization': credential };
  stripe.faults.add({ operation: 'payment.capture', when: 'after', status: 400 });
  stripe.faults.add({ operation: 'payment.retrieve', when: 'before', status: 400 });
  const first = await gateway.fetch(echo.call, { ...init, headers });
  expect(first.status).toBe(503);
  expect(first.headers.get('www-authenticate')).toBeNull();
  stripe.faults.clear();
  const again = await waitUntil(async () => {
    const response = await gateway.fetch(echo.call, { ...init, headers });
    return response.status === 200 ? response : undefined;
  });
  expect(await readAnswer(again)).toMatchObject({ ok: true, charged_mcents: 60_000 });
  expect(grossOf()).toBe(before + 60);
});

test('a page fills a key: opened with the key, paid by a person, told by the webhook', async () => {
  const key = await gateway.mint(0);
  const authorization = `Bearer ${key}`;
  const opened = await gateway.fetch(
    '/v1/topup/checkout',
    jsonBody({ amount_mcents: 500_000 }, { authorization }),
  );
  const body = (await opened.json()) as { checkout_url: string; session_id: string };
  expect(opened.status, JSON.stringify(body)).toBe(200);
  await fetch(body.checkout_url, { method: 'POST', redirect: 'manual', body: new URLSearchParams({}) });
  const balance = await waitUntil(async () => {
    const answer = await readAnswer(await gateway.fetch('/v1/balance', { headers: { authorization } }));
    return answer.balance_mcents > 0 ? answer.balance_mcents : undefined;
  }, 10_000);
  expect(balance).toBe(500_000);
});

test('a page is not opened without a key, and a forged event is told nothing', async () => {
  const opened = await gateway.fetch('/v1/topup/checkout', jsonBody({ amount_mcents: 500_000 }));
  expect(opened.status).toBe(401);
  const forged = await gateway.fetch('/webhooks/stripe', jsonBody({ id: 'evt_1' }));
  expect(forged.status).toBe(400);
  expect(forged.headers.get('access-control-allow-origin')).toBeNull();
});
