import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { creditLateArrivals } from '../../../src/gateway/index.ts';
import { createQuoteSealer } from '../../../src/payments/index.ts';
import { type GatewayClient, TEST_SECRET, type TestGateway } from '../../harness/gateway.ts';
import { type BadPayer, startBadPayer } from '../../harness/lightning-payer.ts';
import { waitUntil } from '../../harness/process.ts';
import { type RailLab, startRailLab } from '../../harness/rail-lab.ts';
import { hookRuns, type RunHooks, withHeaders } from '../fault-lab.ts';
import { jsonBody, readAnswer, readBooks } from '../fixtures.ts';
import {
  expectAnswer,
  expectCredit,
  expectReconciled,
  expectUnknown,
  newCall,
  openShop,
  readRailClaims,
  untilQuiet,
} from './kit.ts';
import { CHEAP, l402, readInvoice, stealPreimage } from './payers.ts';

const PRICE_MSAT = 3_000n;
/** A signup: $0.10 at $100,000 for a bitcoin, one percent on top. */
const SIGNUP_MSAT = 101_000n;
const SIGNUP_MCENTS = 10_000;

let lab: RailLab;
let payer: BadPayer;
beforeAll(async () => {
  lab = await startRailLab(['lightning']);
  // Before the first gateway: what our node owns in this channel is not what the books are about.
  payer = await startBadPayer(lab.lightning.gatewayFolder);
});
afterAll(async () => {
  await payer?.close();
  await lab?.close();
});

const owned = () => lab.lightning.agentBalance();
const lastClaim = async () => (await readRailClaims(lab, 'lightning')).at(-1);

type Challenge = { path: string; request: RequestInit; label: string; macaroon: string; invoice: string };

async function challenge(gateway: GatewayClient, path: string, tool?: string, args = {}): Promise<Challenge> {
  const { label, request } = path === '/v1/signup' ? newSignup() : newCall(tool, args);
  // A node that was away is offered again when it has been looked at.
  const unpaid = await waitUntil(async () => {
    const response = await gateway.fetch(path, request);
    return response.status === 402 ? response : undefined;
  });
  return { path, request, label, ...readInvoice(unpaid) };
}

let signups = 0;
function newSignup() {
  signups += 1;
  const label = `signup ${signups}`;
  return { label, request: jsonBody({ label }) };
}

const show = (gateway: GatewayClient, { path, request, macaroon }: Challenge, preimage = '') =>
  gateway.fetch(path, withHeaders(request, l402(macaroon, preimage)));

async function expectPaid(paying: ReturnType<RailLab['lightning']['pay']>): Promise<string> {
  const paid = await paying;
  if ('error' in paid) throw new Error(paid.error);
  return paid.preimage;
}

/** The preimage of the newest invoice, which its payer does not know yet. */
async function stealNewest(): Promise<string> {
  const [row] = await lab.database.sql<{ paymentHash: string }[]>`
    SELECT payment_hash FROM payment_invoice ORDER BY created_at DESC LIMIT 1`;
  return stealPreimage(lab, row?.paymentHash ?? '');
}

describe('a gateway killed while a payment is held', () => {
  test.each(['before-run', 'after-run'] as const)(
    '%s: the next gateway gives it back, to the millisatoshi, and the call does not run again',
    async (point) => {
      const dying = await lab.startHalting({ haltJobsAt: point });
      const { cheap } = await openShop(dying);
      const before = await owned();
      const asked = await challenge(dying, cheap);
      const paying = lab.lightning.pay(asked.invoice);
      await waitUntil(() => dying.halted.length > 0);
      await dying.kill();
      const runs: string[] = [];
      const next = await lab.start({ change: ({ http }) => hookRuns(http, { runs }) });
      expect(await paying).toHaveProperty('error');
      expect(await owned()).toBe(before);
      expect(runs).toEqual([]);
      expect(await lastClaim()).toMatchObject({ state: 'failed', reference: null });
      const told = await show(next, asked);
      expect(await told.json()).toMatchObject({ status: 409, note: 'no charge applied' });
      await expectReconciled(lab, next);
      await next.close();
    },
  );

  test.each(['before-settle', 'after-settle'] as const)(
    '%s: the next gateway takes it once, and its payer is given the answer',
    async (point) => {
      const dying = await lab.startHalting({ haltJobsAt: point });
      const { cheap } = await openShop(dying);
      const before = await owned();
      const asked = await challenge(dying, cheap);
      const paying = lab.lightning.pay(asked.invoice);
      await waitUntil(() => dying.halted.length > 0);
      await dying.kill();
      const runs: string[] = [];
      const next = await lab.start({ change: ({ http }) => hookRuns(http, { runs }) });
      const preimage = await expectPaid(paying);
      await untilQuiet(lab);
      const body = await expectAnswer(await show(next, asked, preimage));
      expect(body.result).toEqual(dying.runs[0]?.result);
      expect(runs).toEqual([]);
      expect(before - (await owned())).toBe(PRICE_MSAT);
      await expectReconciled(lab, next);
      await next.close();
    },
  );
});

test('paid while every gateway was down, and seen after its challenge had expired: credit for challenge and preimage', async () => {
  const lifetimeMs = 11_500;
  const secrets = [Buffer.from(TEST_SECRET, 'hex')];
  const gone = await lab.start({
    change({ http }) {
      http.quotes = createQuoteSealer({ secrets, clock: systemClock, lifetimeMs });
    },
  });
  const before = await owned();
  const asked = await challenge(gone, '/v1/signup');
  const other = await challenge(gone, '/v1/signup');
  const mintedAt = Date.now();
  await gone.close();
  const preimage = await expectPaid(lab.lightning.pay(asked.invoice));
  await sleep(mintedAt + lifetimeMs + 500 - Date.now());
  const gateway = await lab.start();
  await waitUntil(async () => (await lastClaim())?.state === 'failed');
  expect(before - (await owned())).toBe(SIGNUP_MSAT);
  // Neither half opens it, nor another challenge with the right preimage.
  for (const [challenged, proof] of [
    [asked, ''],
    [asked, '00'.repeat(32)],
    [other, preimage],
  ] as const) {
    const response = await show(gateway, challenged, proof);
    expect(response.ok).toBe(false);
    expect(await response.json()).not.toHaveProperty('refund_key');
  }
  const first = await show(gateway, asked, preimage);
  expect(first.status).toBe(409);
  const { refund_key } = await expectCredit(gateway, first, SIGNUP_MCENTS);
  expect(await readAnswer(await show(gateway, asked, preimage))).toMatchObject({ refund_key });
  await expectReconciled(lab, gateway);
  await gateway.close();
});

describe('a gateway that lives', () => {
  let gateway: TestGateway;
  let path: string;
  const hooks: RunHooks = { runs: [] };
  beforeAll(async () => {
    gateway = await lab.start({
      change({ http }) {
        hookRuns(http, hooks);
        http.settings = { ...http.settings, settleTimeoutMs: 4_000, outcomeWaitMs: 1_000 };
      },
    });
    path = (await openShop(gateway)).cheap;
  });
  afterEach(async () => {
    hooks.before = undefined;
    hooks.after = undefined;
    await expectReconciled(lab, gateway);
  });
  const runsOf = ({ label }: Challenge) => hooks.runs.filter((run) => run === label).length;

  test('underpaid is given back and runs nothing; overpaid is served once, and what is too much waits for its owner', async () => {
    const asked = await challenge(gateway, path);
    const before = payer.balance();
    expect(await payer.send(asked.invoice, PRICE_MSAT - 1_000n)).toBe('refused');
    expect(payer.balance()).toBe(before);
    expect(runsOf(asked)).toBe(0);
    expect(await payer.send(asked.invoice, PRICE_MSAT * 2n)).toBe('paid');
    expect(before - payer.balance()).toBe(PRICE_MSAT * 2n);
    await untilQuiet(lab);
    const [row] = await lab.database.sql<{ paymentHash: string }[]>`
        SELECT payment_hash FROM payment_invoice WHERE invoice = ${asked.invoice}`;
    const preimage = await stealPreimage(lab, row?.paymentHash ?? '');
    expect(await expectAnswer(await show(gateway, asked, preimage))).toMatchObject({
      charged_mcents: CHEAP,
    });
    expect(runsOf(asked)).toBe(1);
    const unapplied = (await readBooks(gateway)).accounts.find(
      ({ name }) => name === 'L.unapplied:lightning',
    );
    expect(BigInt(unapplied?.balance ?? 0)).toBe(300n);
  });

  test('paid and client gone: the call was made, and the answer is there whenever it comes back', async () => {
    const before = await owned();
    const asked = await challenge(gateway, path);
    const preimage = await expectPaid(lab.lightning.pay(asked.invoice));
    await untilQuiet(lab);
    expect(before - (await owned())).toBe(PRICE_MSAT);
    const body = await expectAnswer(await show(gateway, asked, preimage));
    expect(await readAnswer(await show(gateway, asked, preimage))).toEqual(body);
    expect(runsOf(asked)).toBe(1);
  });

  test('paid in time and shown after the challenge expired: the key it bought', async () => {
    const { quotes } = gateway.deps.http;
    const secrets = [Buffer.from(TEST_SECRET, 'hex')];
    gateway.deps.http.quotes = createQuoteSealer({ secrets, clock: systemClock, lifetimeMs: 11_500 });
    const asked = await challenge(gateway, '/v1/signup');
    gateway.deps.http.quotes = quotes;
    const preimage = await expectPaid(lab.lightning.pay(asked.invoice));
    await sleep(12_000);
    expect(await expectAnswer(await show(gateway, asked, preimage))).toMatchObject({
      balance_mcents: SIGNUP_MCENTS,
    });
  });

  test('the node killed and restarted while payments are held: one is taken, one given back, to the millisatoshi', async () => {
    const before = await owned();
    const [good, bad] = [await challenge(gateway, path), await challenge(gateway, path, 'fail')];
    let isBack = () => {};
    const restarted = new Promise<void>((resolve) => {
      isBack = resolve;
    });
    hooks.before = () => restarted;
    const paying = [lab.lightning.pay(good.invoice), lab.lightning.pay(bad.invoice)] as const;
    await waitUntil(() => runsOf(good) + runsOf(bad) === 2);
    await lab.lightning.killNode();
    await lab.lightning.startNode();
    isBack();
    const preimage = await expectPaid(paying[0]);
    expect(await paying[1]).toHaveProperty('error');
    await untilQuiet(lab);
    await expectAnswer(await show(gateway, good, preimage));
    expect(before - (await owned())).toBe(PRICE_MSAT);
  });

  test('the node killed while calls run, and back after they ended: the reconciler takes one and gives one back', async () => {
    const before = await owned();
    const [good, bad] = [await challenge(gateway, path), await challenge(gateway, path, 'fail')];
    let isDead = () => {};
    const killed = new Promise<void>((resolve) => {
      isDead = resolve;
    });
    hooks.before = () => killed;
    const paying = [lab.lightning.pay(good.invoice), lab.lightning.pay(bad.invoice)] as const;
    await waitUntil(() => runsOf(good) + runsOf(bad) === 2);
    await lab.lightning.killNode();
    isDead();
    await waitUntil(async () => {
      const states = (await readRailClaims(lab, 'lightning')).slice(-2).map(({ state }) => state);
      return states.includes('settling') && states.includes('failed');
    });
    await sleep(1_000);
    await lab.lightning.startNode();
    // The job that gives back what could not be given back at once, now and not within half a minute.
    await waitUntil(async () => {
      await creditLateArrivals(gateway.deps.http, AbortSignal.timeout(10_000));
      await lab.database.sql`UPDATE payment_claim SET next_attempt_at = now()
        WHERE rail = 'lightning' AND state = 'failed' AND reference IS NULL`;
      const [row] = await lab.database.sql<{ held: bigint }[]>`
        SELECT count(*) AS held FROM payment_invoice WHERE state = 'held'`;
      return row?.held === 0n;
    });
    const preimage = await expectPaid(paying[0]);
    expect(await paying[1]).toHaveProperty('error');
    await untilQuiet(lab);
    await expectAnswer(await show(gateway, good, preimage));
    expect(before - (await owned())).toBe(PRICE_MSAT);
  });

  test('a preimage that is known while the payment is held and not settled is served nothing', async () => {
    const before = await owned();
    const asked = await challenge(gateway, path);
    const preimage = await stealNewest();
    const bound = () => AbortSignal.timeout(10_000);
    const ours = await lab.lightning.node.balance(bound());
    lab.doors.lightning?.decide((request) => (request.endsWith('/settle') ? 'refuse' : 'pass'));
    let goOn = () => {};
    const stolen = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    hooks.before = () => stolen;
    const paying = lab.lightning.pay(asked.invoice);
    await waitUntil(() => runsOf(asked) === 1);
    await expectUnknown(await show(gateway, asked, preimage), 'outcome-unknown');
    goOn();
    await waitUntil(async () => (await lastClaim())?.state === 'settling');
    // The result is stored by now, and the money is not ours.
    await expectUnknown(await show(gateway, asked, preimage), 'outcome-unknown');
    expect(await lab.lightning.node.balance(bound())).toEqual(ours);
    lab.mend();
    expect(await expectPaid(paying)).toBe(preimage);
    await untilQuiet(lab);
    await expectAnswer(await show(gateway, asked, preimage));
    expect(runsOf(asked)).toBe(1);
    expect(before - (await owned())).toBe(PRICE_MSAT);
  });
});
