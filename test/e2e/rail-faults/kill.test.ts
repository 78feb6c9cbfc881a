import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TestGateway } from '../../harness/gateway.ts';
import { type HaltingGateway, type HaltPoint, haltAt } from '../../harness/halting-gateway.ts';
import { waitUntil } from '../../harness/process.ts';
import { type RailLab, startRailLab } from '../../harness/rail-lab.ts';
import { hookRuns, withHeaders } from '../fault-lab.ts';
import { readAnswer } from '../fixtures.ts';
import { expectAnswer, expectCredit, expectReconciled, newCall, openShop, payFor, type Shop } from './kit.ts';
import { CHEAP, createPatientPayer, createTempoClient, DEAR, type Payer, RAIL_CASES } from './payers.ts';

/** A request that its gateway did not survive, and how its client comes back. */
type Victim = { label: string; path: string; request: RequestInit; paid: RequestInit; payer: Payer };

const BEFORE_COMMIT_B = ['before-run', 'after-run'] as const;
/** Delivered, and so promised. */
const SETTLING = ['before-settle', 'after-settle'] as const;
const CARD_FREE = ['before-hold', 'after-hold', ...BEFORE_COMMIT_B] as const;
const CARD_PAID = [...SETTLING, 'before-answer'] as const;
const PULL_PAID = [...SETTLING, 'before-broadcast', 'after-broadcast', 'before-answer'] as const;
/** Paid by its payer before it is shown, and run last. */
const PUSH_CREDIT = [...SETTLING, ...BEFORE_COMMIT_B] as const;

let lab: RailLab;
let shop: Shop;
let killed: HaltingGateway;
let gateway: TestGateway;
const victims = new Map<string, Victim>();
const runs: string[] = [];
const before = { tempo: 0n, stripe: 0n };
let halted: string[];

beforeAll(async () => {
  lab = await startRailLab(['tempo', 'stripe']);
  killed = await lab.startHalting();
  shop = await openShop(killed);
  before.tempo = await RAIL_CASES.pull.received(lab);
  for (const point of [...CARD_FREE, ...CARD_PAID]) {
    await send(`stripe ${point}`, point, await RAIL_CASES.stripe.createPayer(lab), shop.dear);
  }
  for (const point of [...BEFORE_COMMIT_B, ...PULL_PAID]) {
    await send(`pull ${point}`, point, await createPatientPayer(lab), shop.cheap);
  }
  for (const point of [...PUSH_CREDIT, 'before-answer'] as const) {
    await send(`push ${point}`, point, await RAIL_CASES.push.createPayer(lab), shop.cheap);
  }
  const signer = await createPatientPayer(lab);
  const stock = createTempoClient(lab, signer.key, 'pull');
  await send('pull anew', 'after-broadcast', signer, shop.cheap);
  const anew = victimOf('pull anew');
  victims.set('pull anew', {
    ...anew,
    payer: { pay: async (r) => ({ 'payment-authorization': await stock.createCredential(r) }) },
  });
  halted = [...killed.halted];
  await killed.kill();
  gateway = await lab.start({ change: ({ http }) => hookRuns(http, { runs }) });
});
afterAll(() => lab?.close());

/** Sends a paid call that halts there, and waits until it has. */
async function send(name: string, point: HaltPoint, payer: Payer, path: string): Promise<void> {
  const { label, request } = newCall();
  const paid = await payFor(killed, payer, path, request);
  victims.set(name, { label, path, request, paid, payer });
  // Its gateway dies before it answers.
  killed.fetch(path, withHeaders(paid, haltAt(point, label))).catch(() => {});
  await waitUntil(() => killed.halted.includes(label));
}

function victimOf(name: string): Victim {
  const victim = victims.get(name);
  if (!victim) throw new Error(`nobody died as ${name}`);
  return victim;
}

const retry = ({ path, paid }: Victim) => gateway.fetch(path, paid);
const runsOf = ({ label }: Victim) =>
  killed.runs.filter((run) => run.label === label).length + runs.filter((run) => run === label).length;
const resultOf = ({ label }: Victim) => killed.runs.find((run) => run.label === label)?.result;

/** Nothing was taken, and nothing will be. */
async function expectFree(victim: Victim): Promise<void> {
  const response = await retry(victim);
  expect(response.status).toBe(402);
  expect(response.headers.get('www-authenticate')).not.toBeNull();
  expect(await response.json()).toMatchObject({ ok: false, note: 'no charge applied' });
}

/** The one answer there is, as often as its payer asks. */
async function expectDelivered(victim: Victim, price: number): Promise<void> {
  const answer = await expectAnswer(
    await waitUntil(async () => {
      const response = await retry(victim);
      return response.status === 200 ? response : undefined;
    }),
  );
  expect(answer.result).toEqual(resultOf(victim));
  expect(answer).toMatchObject({ charged_mcents: price });
  expect(await readAnswer(await retry(victim))).toEqual(answer);
  expect(runsOf(victim)).toBe(1);
}

/** Payments at Stripe by the claim that made them. */
function paymentsOf(victim: Victim) {
  const header = new Headers(victim.paid.headers).get('payment-authorization') ?? '';
  const credential = Buffer.from(header.replace(/^Payment /, ''), 'base64url').toString();
  const [token] = /spt_[A-Za-z0-9_]+/.exec(credential) ?? [];
  return lab.stripe.payments().filter(({ metadata }) => metadata.millicent_claim === `stripe:${token}`);
}

test('every request died where it was to die', () => {
  expect(halted).toEqual([...victims.values()].map(({ label }) => label));
});

describe.each(CARD_FREE)('a call by card killed %s', (point) => {
  test('is free: the authorisation is cancelled, and nothing is captured', async () => {
    const victim = victimOf(`stripe ${point}`);
    await expectFree(victim);
    expect(paymentsOf(victim).filter(({ status }) => status !== 'canceled')).toEqual([]);
    if (point !== 'before-hold') expect(paymentsOf(victim)).toHaveLength(1);
    expect(runsOf(victim)).toBe(point === 'after-run' ? 1 : 0);
  });
});

describe.each(CARD_PAID)('a call by card killed %s', (point) => {
  test('is captured exactly once, and its one answer goes to its client', async () => {
    const victim = victimOf(`stripe ${point}`);
    await expectDelivered(victim, DEAR);
    expect(paymentsOf(victim)).toMatchObject([{ status: 'succeeded', amount_received: 60 }]);
  });
});

describe.each(BEFORE_COMMIT_B)('a call on Tempo (pull) killed %s', (point) => {
  test('is free, and is never sent', async () => {
    const victim = victimOf(`pull ${point}`);
    await expectFree(victim);
    expect(runsOf(victim)).toBe(point === 'after-run' ? 1 : 0);
  });
});

test.each(PULL_PAID)(
  'a delivered call on Tempo (pull) killed %s is paid once, and answered',
  async (point) => {
    await expectDelivered(victimOf(`pull ${point}`), CHEAP);
  },
);

test('a delivered call on Tempo is answered to its payer who signs anew, and is not paid again', async () => {
  const victim = victimOf('pull anew');
  const paid = await payFor(gateway, victim.payer, victim.path, victim.request);
  const answer = await expectAnswer(await gateway.fetch(victim.path, paid));
  expect(answer.result).toEqual(resultOf(victim));
  expect(runsOf(victim)).toBe(1);
});

test.each(PUSH_CREDIT)('a call on Tempo (push) killed %s becomes credit on a refund key', async (point) => {
  const victim = victimOf(`push ${point}`);
  const response = await waitUntil(async () => {
    const again = await retry(victim);
    return (await readAnswer(again.clone())).refund_key === undefined ? undefined : again;
  });
  expect(response.status).toBe(409);
  await expectCredit(gateway, response, CHEAP);
  expect(runsOf(victim)).toBe(point === 'after-run' ? 1 : 0);
});

test('a call on Tempo (push) killed before its answer is answered', async () => {
  await expectDelivered(victimOf('push before-answer'), CHEAP);
});

test('afterwards every payment was taken once, and ledger, Tempo and Stripe agree to the last unit', async () => {
  await expectReconciled(lab, gateway);
  const onTempo = PULL_PAID.length + 1 + PUSH_CREDIT.length + 1;
  expect((await RAIL_CASES.pull.received(lab)) - before.tempo).toBe(2_500n * BigInt(onTempo));
  expect(lab.stripe.sums().gross).toBe(60 * CARD_PAID.length);
  expect(lab.stripe.payments().filter(({ status }) => status === 'requires_capture')).toEqual([]);
});
