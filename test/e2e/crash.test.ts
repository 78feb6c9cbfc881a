import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256 } from '../../src/core/bytes.ts';
import { labelOf } from '../harness/call-label.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { type HaltingGateway, type HaltPoint, haltAt } from '../harness/halting-gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { expectTrueBooks, type FaultLab, readClaims, startFaultLab, withHeaders } from './fault-lab.ts';
import { type Agent, createAgent, jsonBody, publishEcho, readAnswer } from './fixtures.ts';

/** A request that its gateway did not survive, and how its client comes back. */
type Victim = {
  label: string;
  path: string;
  request: RequestInit;
  /** Pays; absent when a key does. */
  credential: Record<string, string>;
  agent: Agent | undefined;
  owned: bigint;
};

const CALL_POINTS: HaltPoint[] = [
  ...(['before-run', 'after-run', 'before-settle', 'before-broadcast'] as const),
  ...(['after-broadcast', 'after-settle', 'before-answer'] as const),
];
/** Delivered, and so promised. */
const AFTER_COMMIT_B = CALL_POINTS.slice(2);
const PURCHASE_POINTS = AFTER_COMMIT_B;
/** Calls that pay before they run: paid first, and run last. */
const PAID_NOT_RUN: HaltPoint[] = [...AFTER_COMMIT_B.slice(0, 4), 'before-run', 'after-run'];
const KEY_POINTS: HaltPoint[] = ['before-run', 'after-run', 'before-answer'];

const PRICE_UNITS = 500n;
const DEAR_MCENTS = 50_000;
const DEAR_UNITS = 500_000n;
const SIGNUP_UNITS = 100_000n;
const TOP_UP_MCENTS = 20_000;
const TOP_UP_UNITS = 200_000n;

let lab: FaultLab;
let gateway: TestGateway;
let killed: HaltingGateway;
const victims = new Map<string, Victim>();
const runs: { label: string }[] = [];
const keys = new Map<string, string>();
let statesAtDeath: Map<string, number>;

beforeAll(async () => {
  lab = await startFaultLab();
  killed = await lab.startHalting();
  await crowd(killed);
  await killed.kill();
  statesAtDeath = await countStates();
  // The first gateway that recovers dies as well, with its first transaction just broadcast.
  const second = await lab.startHalting({ haltJobsAt: 'after-broadcast' });
  await waitUntil(() => second.halted.length > 0);
  await second.kill();
  gateway = await lab.start({
    change({ http }) {
      const { execution } = http;
      http.execution = {
        ...execution,
        run(call, signal) {
          runs.push({ label: labelOf(call) });
          return execution.run(call, signal);
        },
      };
    },
  });
});
afterAll(async () => {
  await lab.close();
});

/** Sends every request to the gateway and waits until each has halted where it is to die. */
async function crowd(target: HaltingGateway): Promise<void> {
  const [cheap, dear] = [await publishEcho(target), await publishDear(target)];
  const call = (label: string) => jsonBody({ tool: 'random', arguments: { label } });
  const plans: { point: HaltPoint; start(): Promise<void> }[] = [];
  const plan = (kind: string, point: HaltPoint, start: (label: string) => Promise<void>) => {
    for (const back of ['same', 'anew']) {
      plans.push({ point, start: () => start(`${kind} ${point} ${back}`) });
    }
  };
  for (const point of CALL_POINTS) {
    plan('call', point, (label) => pay(target, point, { label, path: cheap.call, request: call(label) }));
  }
  for (const point of [...PAID_NOT_RUN, 'before-answer'] as const) {
    plan('dear', point, (label) => pay(target, point, { label, path: dear.call, request: call(label) }));
  }
  for (const point of PURCHASE_POINTS) {
    plan('signup', point, (label) =>
      pay(target, point, { label, path: '/v1/signup', request: jsonBody({ label }) }),
    );
    plan('topup', point, async (label) => {
      const key = await makeKey(target, label, 0);
      const request = jsonBody({ amount_mcents: TOP_UP_MCENTS }, { authorization: `Bearer ${key}` });
      await pay(target, point, { label, path: '/v1/topup', request });
    });
  }
  for (const point of KEY_POINTS) {
    for (const kind of ['key', 'idempotent']) {
      const label = `${kind} ${point}`;
      const start = async () => {
        const key = await makeKey(target, label, 1_000);
        const headers = { authorization: `Bearer ${key}`, prefer: 'receipt' };
        const more = kind === 'key' ? {} : { 'idempotency-key': label };
        const request = withHeaders(call(label), { ...headers, ...more });
        send(target, point, { label, path: cheap.call, request, ...NOBODY });
      };
      plans.push({ point, start });
    }
  }
  // What follows a transaction that is not broadcast cannot be mined: those come last.
  const last = plans.filter(({ point }) => point === 'before-broadcast');
  const first = plans.filter(({ point }) => point !== 'before-broadcast');
  for (const { start } of first) await start();
  await waitUntil(() => target.halted.length === first.length);
  for (const { start } of last) await start();
  await waitUntil(() => target.halted.length === plans.length);
}

const NOBODY = { credential: {}, agent: undefined, owned: 0n };

async function pay(
  target: HaltingGateway,
  point: HaltPoint,
  what: Pick<Victim, 'label' | 'path' | 'request'>,
) {
  const agent = await createAgent(lab.anvil);
  const credential = await agent.sign(await target.fetch(what.path, what.request));
  send(target, point, { ...what, credential, agent, owned: await agent.owns() });
}

function send(target: HaltingGateway, point: HaltPoint, victim: Victim): void {
  const { label, path, request, credential } = victim;
  victims.set(label, victim);
  const headers = { ...credential, ...haltAt(point, label) };
  // Its gateway dies before it answers.
  target.fetch(path, withHeaders(request, headers)).catch(() => {});
}

async function makeKey(target: HaltingGateway, label: string, balance: number): Promise<string> {
  const key = await target.mint(balance);
  keys.set(label, key);
  return key;
}

function publishDear(target: HaltingGateway) {
  return publishEcho(target, { pricing: { model: 'per_call', amount_mcents: DEAR_MCENTS } });
}

async function countStates(): Promise<Map<string, number>> {
  const rows = await lab.database.sql<{ state: string; count: bigint }[]>`
    SELECT state, count(*) AS count FROM payment_claim GROUP BY state`;
  return new Map(rows.map(({ state, count }) => [state, Number(count)]));
}

function victimOf(label: string): Victim & { agent: Agent } {
  const victim = victims.get(label);
  if (!victim?.agent) throw new Error(`nobody died as ${label}`);
  return { ...victim, agent: victim.agent };
}

/** The same request with the same payment once more. */
function retry({ path, request, credential }: Victim): Promise<Response> {
  return gateway.fetch(path, withHeaders(request, credential));
}

/** The stock client's next call: it knows nothing of the one before, and signs anew. */
function signAgain({ path, request, agent }: Victim & { agent: Agent }): Promise<Response> {
  return agent.fetch(gateway.url + path, request);
}

const comeBack = { same: retry, anew: signAgain };
const BACK = ['same', 'anew'] as const;

const paidBy = async ({ agent, owned }: Victim) => owned - ((await agent?.owns()) ?? 0n);
const runsOf = (label: string) => [...killed.runs, ...runs].filter((run) => run.label === label).length;
const resultOf = (label: string) => killed.runs.find((run) => run.label === label)?.result;

test('every request died where it was to die', () => {
  expect(Object.fromEntries(statesAtDeath)).toEqual({
    // Calls before commit B, calls paid and not delivered, and those under an Idempotency-Key.
    running: 2 * 2 + 2 * 2 + 2,
    settling: 2 * (4 + 4) + 2 * 2 * 4,
    delivered: 2 * 2 + 2 * 2 + 1,
  });
});

describe.each(['before-run', 'after-run'] as const)('a call killed %s', (point) => {
  test('is free, is never settled and never runs again under the same payment', async () => {
    const victim = victimOf(`call ${point} same`);
    const response = await retry(victim);
    expect(response.status).toBe(402);
    expect(await response.json()).toMatchObject({ ok: false, note: 'no charge applied' });
    expect(response.headers.get('payment-required')).not.toBeNull();
    expect(await paidBy(victim)).toBe(0n);
    expect(runsOf(victim.label)).toBe(point === 'after-run' ? 1 : 0);
    expect(await readClaims(lab, victim.agent)).toMatchObject([{ state: 'failed', reference: null }]);
  });

  test('is told so twenty times at once, and stays free', async () => {
    const victim = victimOf(`call ${point} same`);
    const responses = await Promise.all(Array.from({ length: 20 }, () => retry(victim)));
    expect(responses.map(({ status }) => status)).toEqual(Array(20).fill(402));
    expect(await paidBy(victim)).toBe(0n);
    expect(runsOf(victim.label)).toBe(point === 'after-run' ? 1 : 0);
    expect(await readClaims(lab, victim.agent)).toMatchObject([{ state: 'failed', reference: null }]);
  });

  test('is sold once when its client signs again', async () => {
    const victim = victimOf(`call ${point} anew`);
    const response = await signAgain(victim);
    expect(response.status).toBe(200);
    expect(await paidBy(victim)).toBe(PRICE_UNITS);
    expect(await readClaims(lab, victim.agent)).toMatchObject([{ state: 'failed' }, { state: 'delivered' }]);
  });
});

describe.each(AFTER_COMMIT_B)('a delivered call killed %s', (point) => {
  test.each(BACK)(
    'is paid once, ran once, and its one answer goes to its client (%s payment)',
    async (back) => {
      const victim = victimOf(`call ${point} ${back}`);
      const response = await comeBack[back](victim);
      const answer = await readAnswer(response);
      expect(response.status, JSON.stringify(answer)).toBe(200);
      expect(answer.result).toEqual(resultOf(victim.label));
      expect(answer.receipt).toBeTruthy();
      expect(await paidBy(victim)).toBe(PRICE_UNITS);
      expect(runsOf(victim.label)).toBe(1);
      expect(await readClaims(lab, victim.agent)).toMatchObject([
        { id: answer.receipt_id, state: 'delivered' },
      ]);
    },
  );
});

describe.each(PAID_NOT_RUN)('a call that pays before it runs, killed %s', (point) => {
  test.each(BACK)('becomes credit on a refund key, and is not paid again (%s payment)', async (back) => {
    const victim = victimOf(`dear ${point} ${back}`);
    const response = await comeBack[back](victim);
    const answer = await readAnswer(response);
    // Final, so that nobody waits for a better answer, and without a challenge, so that nobody pays for another one.
    expect(response.status, JSON.stringify(answer)).toBe(409);
    expect(response.headers.get('retry-after')).toBeNull();
    expect(response.headers.get('payment-required')).toBeNull();
    expect(answer).toMatchObject({ refund_mcents: DEAR_MCENTS });
    const headers = { authorization: `Bearer ${answer.refund_key}` };
    const balance = await readAnswer(await gateway.fetch('/v1/balance', { headers }));
    expect(balance.balance_mcents).toBe(DEAR_MCENTS);
    expect(await paidBy(victim)).toBe(DEAR_UNITS);
    expect(runsOf(victim.label)).toBe(point === 'after-run' ? 1 : 0);
    expect(await readClaims(lab, victim.agent)).toHaveLength(1);
  });
});

test.each(PAID_NOT_RUN)(
  'twenty repetitions at once of a call that paid before it ran, killed %s, are given one refund key',
  async (point) => {
    const victim = victimOf(`dear ${point} same`);
    const responses = await Promise.all(Array.from({ length: 20 }, () => retry(victim)));
    expect(responses.map(({ status }) => status)).toEqual(Array(20).fill(409));
    const answers = await Promise.all(responses.map(readAnswer));
    expect(answers[0]?.refund_key).toMatch(/^mcp_/);
    expect(new Set(answers.map(({ refund_key }) => refund_key)).size).toBe(1);
    expect(await paidBy(victim)).toBe(DEAR_UNITS);
    expect(await readClaims(lab, victim.agent)).toHaveLength(1);
  },
);

test.each(BACK)(
  'a call that paid before it ran, killed before its answer, is answered (%s payment)',
  async (back) => {
    const victim = victimOf(`dear before-answer ${back}`);
    const answer = await readAnswer(await comeBack[back](victim));
    expect(answer.result).toEqual(resultOf(victim.label));
    expect(await paidBy(victim)).toBe(DEAR_UNITS);
    expect(runsOf(victim.label)).toBe(1);
  },
);

describe.each(PURCHASE_POINTS)('a purchase killed %s', (point) => {
  test.each(BACK)('of a key is paid once and gives the same key each time (%s payment)', async (back) => {
    const victim = victimOf(`signup ${point} ${back}`);
    const answer = await readAnswer(await comeBack[back](victim));
    expect(answer).toMatchObject({ ok: true, balance_mcents: 10_000 });
    expect(await readAnswer(await retry(victim))).toMatchObject({ key: answer.key });
    expect(await paidBy(victim)).toBe(SIGNUP_UNITS);
    expect(await readClaims(lab, victim.agent)).toHaveLength(1);
  });

  test.each(BACK)('of balance is paid once and credited once (%s payment)', async (back) => {
    const victim = victimOf(`topup ${point} ${back}`);
    const answer = await readAnswer(await comeBack[back](victim));
    expect(answer).toMatchObject({ ok: true, balance_mcents: TOP_UP_MCENTS });
    expect(await paidBy(victim)).toBe(TOP_UP_UNITS);
    expect(await readClaims(lab, victim.agent)).toHaveLength(1);
  });
});

async function balanceOf(label: string): Promise<number> {
  const headers = { authorization: `Bearer ${keys.get(label)}` };
  return (await readAnswer(await gateway.fetch('/v1/balance', { headers }))).balance_mcents;
}

test.each(['before-run', 'after-run'])(
  'a call by key killed %s keeps its hold only for as long as it lasts',
  async (point) => {
    const label = `key ${point}`;
    expect(await balanceOf(label)).toBe(950);
    await lab.database.sql`UPDATE ledger_hold SET expires_at = now()
      WHERE account_id = (SELECT account_id FROM api_key WHERE hash = ${sha256(keys.get(label) ?? '')})`;
    await waitUntil(async () => (await balanceOf(label)) === 1_000);
    expect(runsOf(label)).toBe(point === 'after-run' ? 1 : 0);
  },
);

test('a call by key killed before its answer was charged once', async () => {
  expect(await balanceOf('key before-answer')).toBe(950);
  expect(runsOf('key before-answer')).toBe(1);
});

test.each(['before-run', 'after-run'])(
  'a call under an Idempotency-Key killed %s is free and does not run again',
  async (point) => {
    const label = `idempotent ${point}`;
    const victim = victims.get(label);
    if (!victim) throw new Error(`nobody died as ${label}`);
    const response = await retry(victim);
    expect(response.status).toBe(409);
    expect(response.headers.get('retry-after')).toBeNull();
    expect(await response.json()).toMatchObject({ note: 'no charge applied' });
    expect(await balanceOf(label)).toBe(1_000);
    expect(runsOf(label)).toBe(point === 'after-run' ? 1 : 0);
  },
);

test('a call under an Idempotency-Key killed before its answer gives it to who repeats it, charged once', async () => {
  const victim = victims.get('idempotent before-answer');
  if (!victim) throw new Error('nobody died');
  const answer = await readAnswer(await retry(victim));
  expect(answer.result).toEqual(resultOf(victim.label));
  expect(await balanceOf(victim.label)).toBe(950);
  expect(runsOf(victim.label)).toBe(1);
});

test('after two crashes the books balance, by hand and with the chain, and nothing is left half done', async () => {
  await expectTrueBooks(lab, gateway);
  expect(await countStates()).not.toHaveProperty('settling');
});
