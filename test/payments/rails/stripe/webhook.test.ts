import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newUuid } from '../../../../src/core/ids.ts';
import { millicents } from '../../../../src/core/money.ts';
import { withTransaction } from '../../../../src/db/index.ts';
import {
  claimIdOf,
  hastenSettlement,
  insertClaim,
  pruneWebhookEvents,
} from '../../../../src/payments/index.ts';
import { createStripeWebhook } from '../../../../src/payments/rails/stripe/index.ts';
import { createTestDatabase, type TestDatabase } from '../../../harness/database.ts';
import { type StripeGateway, startStripeGateway } from '../../../harness/stripe.ts';

const NOW = new Date('2026-11-21T08:00:00Z');
const SECONDS = NOW.getTime() / 1_000;

describe('reading', () => {
  const reader = createStripeWebhook({ secrets: ['whsec_new', 'whsec_old'], clock: { now: () => NOW } });
  const event = (type: string, object: object) =>
    JSON.stringify({ id: 'evt_1', object: 'event', type, data: { object } });
  const session = event('checkout.session.completed', { id: 'cs_test_1' });
  function sign(text: string, secret = 'whsec_new', seconds = SECONDS): string {
    return `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${text}`).digest('hex')}`;
  }
  const read = (text: string, header: string | undefined) => reader.read(Buffer.from(text), header);

  test('an event is a hint at the claim it names', () => {
    expect(read(session, sign(session))).toEqual({
      kind: 'event',
      event: {
        ...{ id: 'stripe:evt_1', type: 'checkout.session.completed', claimKeys: ['stripe:cs_test_1'] },
        alarm: undefined,
      },
    });
    const payment = event('payment_intent.succeeded', {
      id: 'pi_1',
      metadata: { millicent_claim: 'stripe:spt_1' },
    });
    expect(read(payment, sign(payment))).toMatchObject({ event: { claimKeys: ['stripe:spt_1'] } });
  });

  test('a secret that is being replaced is still good, and one that is not ours is not', () => {
    expect(read(session, sign(session, 'whsec_old')).kind).toBe('event');
    expect(read(session, sign(session, 'whsec_other')).kind).toBe('refused');
  });

  test.each([
    ['five minutes old', -300, 'event'],
    ['older', -301, 'refused'],
    ['five minutes ahead', 300, 'event'],
    ['further ahead', 301, 'refused'],
  ] as const)('a signature that is %s', (_name, offset, kind) => {
    expect(read(session, sign(session, 'whsec_new', SECONDS + offset)).kind).toBe(kind);
  });

  test('what is forged, changed, unsigned or no event is refused, and nothing crashes', () => {
    const header = sign(session);
    const others = [
      undefined,
      '',
      'v1=',
      't=,v1=',
      `t=${SECONDS}`,
      header.replace('v1=', 'v0='),
      `${header.slice(0, -1)}`,
      'x'.repeat(5_000),
    ];
    for (const other of others) expect(read(session, other).kind).toBe('refused');
    expect(read(session.replace('cs_test_1', 'cs_test_2'), header).kind).toBe('refused');
    for (const text of [
      '',
      'not json',
      '[]',
      '{}',
      '{"id":"evt_1"}',
      'null',
      '{"id":"e","type":"x","data":{}}',
    ]) {
      expect(read(text, sign(text)).kind).toBe('refused');
    }
  });

  test('a dispute is an alarm', () => {
    const dispute = event('charge.dispute.created', { id: 'du_1', charge: 'ch_1', amount: 500 });
    expect(read(dispute, sign(dispute))).toMatchObject({
      event: { claimKeys: [], alarm: { fields: { dispute: 'du_1', charge: 'ch_1', amount: 500 } } },
    });
  });
});

describe('receiving', () => {
  let database: TestDatabase;
  let lab: StripeGateway;
  beforeAll(async () => {
    database = await createTestDatabase();
    lab = await startStripeGateway(database);
  });
  afterAll(async () => {
    await lab.close();
    await database.close();
  });

  async function post(body: string, signature: string | undefined): Promise<Response> {
    const headers = { ...(signature === undefined ? {} : { 'stripe-signature': signature }) };
    return fetch(lab.webhookUrl, { method: 'POST', headers, body });
  }
  async function countEvents(): Promise<bigint> {
    const [row] = await database.sql<{ n: bigint }[]>`SELECT count(*) AS n FROM payment_webhook_event`;
    return row?.n ?? 0n;
  }

  test('a webhook funds a top-up long before its turn, once, however often it is sent', async () => {
    const account = newUuid();
    const { sessionId } = await lab.open(account, 500_000n);
    const before = lab.stripe.events().length;
    lab.stripe.payCheckout(sessionId);
    lab.stripe.setWebhookUrl(lab.webhookUrl);
    const events = lab.stripe.events().slice(before);
    // Out of order, twice each, and all at once.
    const sent = [...events].reverse().flatMap((event) => [event, event]);
    expect(await Promise.all(sent.map((event) => lab.stripe.deliver(event)))).toEqual(sent.map(() => 200));
    expect(await lab.finished(sessionId)).toBe('delivered');
    for (const event of events) expect(await lab.stripe.deliver(event)).toBe(200);
    expect(await lab.balance(account)).toBe(500_000n);
    lab.stripe.setWebhookUrl(undefined);
  });

  test('an event that came before its payment is there changes nothing', async () => {
    const account = newUuid();
    const { sessionId } = await lab.open(account, 500_000n);
    const body = JSON.stringify({
      ...{ id: 'evt_early', object: 'event', type: 'checkout.session.completed' },
      data: { object: { id: sessionId, payment_status: 'paid', amount_total: 1 } },
    });
    expect((await post(body, lab.stripe.sign(body))).status).toBe(200);
    expect(await lab.balance(account)).toBe(0n);
  });

  test('forged, stale, oversized and unreadable events are 400 and leave no trace', async () => {
    const before = await countEvents();
    const body = JSON.stringify({
      id: 'evt_x',
      type: 'checkout.session.completed',
      data: { object: { id: 'cs_1' } },
    });
    const stale = Math.floor(Date.now() / 1_000) - 3_600;
    const huge = JSON.stringify({ id: 'evt_x', padding: 'x'.repeat(300_000) });
    const answers = await Promise.all([
      post(body, undefined),
      post(body, `t=${Math.floor(Date.now() / 1_000)},v1=${'0'.repeat(64)}`),
      post(body, lab.stripe.sign(body, stale)),
      post(huge, lab.stripe.sign(huge)),
      post('not json', lab.stripe.sign('not json')),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 400, 400, 400]);
    expect(await countEvents()).toBe(before);
  });

  test('no page may read the answer, nor is it kept', async () => {
    const response = await post('{}', undefined);
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    expect(response.headers.get('cache-control')).toBe('no-store');
  });

  test('Stripe’s own deliveries are taken, and tried again until they are', async () => {
    const account = newUuid();
    const { sessionId } = await lab.open(account, 250_000n);
    lab.stripe.setWebhookUrl('http://127.0.0.1:9/webhooks/stripe');
    lab.stripe.payCheckout(sessionId);
    lab.stripe.setWebhookUrl(lab.webhookUrl);
    expect(await lab.finished(sessionId)).toBe('delivered');
    expect(await lab.balance(account)).toBe(250_000n);
    lab.stripe.setWebhookUrl(undefined);
  });

  test('a dispute is logged loudly', async () => {
    const { sessionId } = await lab.open(newUuid(), 500_000n);
    const { payment_intent: payment } = lab.stripe.payCheckout(sessionId);
    const charge = lab.stripe.charges().find(({ payment_intent }) => payment_intent === payment);
    lab.stripe.setWebhookUrl(lab.webhookUrl);
    lab.stripe.dispute(charge?.id ?? '');
    const dispute = lab.stripe.events().findLast(({ type }) => type === 'charge.dispute.created');
    if (!dispute) throw new Error('no dispute');
    await lab.stripe.deliver(dispute);
    expect(lab.errors.filter((message) => message.includes('disputed'))).toHaveLength(1);
    lab.stripe.setWebhookUrl(undefined);
  });

  test('a settlement that a request is at is not taken from it', async () => {
    const { worker } = lab.gateway.deps.http;
    const claimKey = 'stripe:spt_underway';
    const hasten = () => withTransaction(database.sql, (tx) => hastenSettlement(tx, claimKey));
    await withTransaction(database.sql, (tx) =>
      insertClaim(tx, {
        ...{
          claimKey,
          purpose: 'call',
          rail: 'stripe',
          wire: 'mpp',
          payer: 'stripe:x',
          accountId: newUuid(),
        },
        ...{ amount: millicents(500_000n), requestDigest: '', quoteHash: null, mode: 'before-run' },
        ...{ state: 'settling', worker: worker.id, context: { purpose: 'topup' }, intent: null },
      }),
    );
    const id = claimIdOf(claimKey);
    await database.sql`UPDATE payment_claim SET next_attempt_at = now() + interval '1 hour' WHERE id = ${id}`;
    expect(await hasten()).toBe(false);
    await database.sql`UPDATE payment_claim SET attempts = 1 WHERE id = ${id}`;
    expect(await hasten()).toBe(true);
    await database.sql`DELETE FROM payment_claim WHERE id = ${id}`;
  });

  test('events are forgotten after their time', async () => {
    expect(await countEvents()).toBeGreaterThan(0n);
    await pruneWebhookEvents(database.sql, { olderThanMs: 60_000, rowsMax: 100 });
    expect(await countEvents()).toBeGreaterThan(0n);
    await pruneWebhookEvents(database.sql, { olderThanMs: -60_000, rowsMax: 100 });
    expect(await countEvents()).toBe(0n);
  });
});
