import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { GatewayClient, TestGateway } from '../../harness/gateway.ts';
import type { HaltingGateway } from '../../harness/halting-gateway.ts';
import { waitUntil } from '../../harness/process.ts';
import { type RailLab, startRailLab } from '../../harness/rail-lab.ts';
import { jsonBody, readAnswer } from '../fixtures.ts';
import { expectReconciled, readRailClaims } from './kit.ts';

const AMOUNT = 500_000;

let lab: RailLab;
let here: TestGateway;
let there: HaltingGateway;

beforeAll(async () => {
  lab = await startRailLab(['stripe']);
  here = await lab.start();
  there = await lab.startHalting();
});
afterEach(async () => {
  lab.stripe.setWebhookUrl(undefined);
  // A page nobody pays is open for a day: Stripe ends it.
  for (const { id, status } of lab.stripe.sessions()) if (status === 'open') await expireSession(id);
  await lab.database.sql`UPDATE payment_claim SET next_attempt_at = now() WHERE state = 'settling'`;
  await expectReconciled(lab, here);
});
afterAll(() => lab?.close());

async function expireSession(id: string): Promise<void> {
  const headers = { authorization: `Bearer ${lab.stripe.secretKey}` };
  const url = `${lab.stripe.apiBase}/v1/checkout/sessions/${id}/expire`;
  expect((await fetch(url, { method: 'POST', headers })).status).toBe(200);
}

type Page = { url: string; sessionId: string; balance(): Promise<number> };

/** A page on which somebody may fill a new key. */
async function openPage(gateway: GatewayClient): Promise<Page> {
  const authorization = `Bearer ${await gateway.mint(0)}`;
  const opened = await gateway.fetch(
    '/v1/topup/checkout',
    jsonBody({ amount_mcents: AMOUNT }, { authorization }),
  );
  expect(opened.status).toBe(200);
  const body = (await opened.json()) as { checkout_url: string; session_id: string };
  return {
    url: body.checkout_url,
    sessionId: body.session_id,
    balance: async () =>
      (await readAnswer(await gateway.fetch('/v1/balance', { headers: { authorization } }))).balance_mcents,
  };
}

const payPage = ({ url }: Page) =>
  fetch(url, { method: 'POST', redirect: 'manual', body: new URLSearchParams({}) });

const untilFilled = (page: Page) => waitUntil(async () => (await page.balance()) || undefined);

function post(gateway: GatewayClient, body: string, signature: string | undefined): Promise<Response> {
  return gateway.fetch('/webhooks/stripe', {
    ...{ method: 'POST', body },
    headers: { 'content-type': 'application/json', ...(signature && { 'stripe-signature': signature }) },
  });
}

/** What Stripe says of a page once it is paid. */
const completed = ({ sessionId }: Page, id = `evt_${sessionId}`) =>
  JSON.stringify({
    ...{ id, object: 'event', type: 'checkout.session.completed' },
    data: { object: { id: sessionId, payment_status: 'paid', amount_total: AMOUNT / 1_000 } },
  });

describe('an event of Stripe', () => {
  test('told twice, out of order and to both gateways fills the key once', async () => {
    const before = lab.stripe.events().length;
    const page = await openPage(here);
    await payPage(page);
    const events = lab.stripe.events().slice(before).reverse();
    expect(events.length).toBeGreaterThan(1);
    for (const { url } of [here, there]) {
      lab.stripe.setWebhookUrl(`${url}/webhooks/stripe`);
      const sent = events.flatMap((event) => [event, event]);
      expect(await Promise.all(sent.map((event) => lab.stripe.deliver(event)))).toEqual(sent.map(() => 200));
    }
    expect(await untilFilled(page)).toBe(AMOUNT);
    for (const event of events) expect(await lab.stripe.deliver(event)).toBe(200);
    expect(await page.balance()).toBe(AMOUNT);
    expect((await readRailClaims(lab, 'stripe')).at(-1)).toMatchObject({ state: 'delivered' });
  });

  test('that comes before its payment, or for a page of nobody, gives nothing', async () => {
    const page = await openPage(there);
    const body = completed(page);
    expect((await post(here, body, lab.stripe.sign(body))).status).toBe(200);
    const nobody = completed({ ...page, sessionId: 'cs_test_nobody' });
    expect((await post(there, nobody, lab.stripe.sign(nobody))).status).toBe(200);
    await waitUntil(async () => {
      const [row] = await lab.database.sql<{ attempts: number }[]>`
        SELECT attempts FROM payment_claim WHERE state = 'settling'`;
      return (row?.attempts ?? 0) > 0;
    });
    expect(await page.balance()).toBe(0);
    // Paid after all: the next look finds it, though its event came long before.
    await payPage(page);
    expect(await untilFilled(page)).toBe(AMOUNT);
  });

  test('forged, stale or unsigned is refused, hastens nothing and leaves no trace', async () => {
    const page = await openPage(here);
    const body = completed(page);
    const now = Math.floor(Date.now() / 1_000);
    const good = lab.stripe.sign(body);
    const forged = [undefined, `t=${now},v1=${'0'.repeat(64)}`, good.replace(/v1=../, 'v1=zz')];
    const stale = lab.stripe.sign(body, now - 3_600);
    for (const gateway of [here, there]) {
      for (const signature of [...forged, stale])
        expect((await post(gateway, body, signature)).status).toBe(400);
      expect((await post(gateway, body.replace(page.sessionId, 'cs_test_other'), good)).status).toBe(400);
    }
    const [claim] = await lab.database.sql<{ attempts: number; waits: boolean }[]>`
      SELECT attempts, next_attempt_at > now() AS waits FROM payment_claim WHERE state = 'settling'`;
    expect(claim).toEqual({ attempts: 0, waits: true });
    const events = await lab.database
      .sql`SELECT FROM payment_webhook_event WHERE id = ${`stripe:evt_${page.sessionId}`}`;
    expect(events).toHaveLength(0);
    expect(await page.balance()).toBe(0);
  });
});
