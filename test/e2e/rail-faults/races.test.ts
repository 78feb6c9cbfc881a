import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { TestGateway } from '../../harness/gateway.ts';
import type { HaltingGateway } from '../../harness/halting-gateway.ts';
import { type RailLab, startRailLab } from '../../harness/rail-lab.ts';
import { hookRuns, type RunHooks } from '../fault-lab.ts';
import { jsonBody, readAnswer } from '../fixtures.ts';
import { expectReconciled, newCall, openShop, pathOf, payFor, readRailClaims, type Shop } from './kit.ts';
import { ALL_CASES, createStripeClient, createTempoClient, type Payer, type RailCase } from './payers.ts';

let lab: RailLab;
let here: TestGateway;
let there: HaltingGateway;
let shop: Shop;
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startRailLab();
  here = await lab.start({ change: ({ http }) => hookRuns(http, hooks) });
  there = await lab.startHalting();
  shop = await openShop(here);
});
afterEach(() => expectReconciled(lab, here));
afterAll(() => lab?.close());

const runsOf = (label: string) =>
  hooks.runs.filter((run) => run === label).length + there.runs.filter((run) => run.label === label).length;

/** The same request so often at once, to both processes in turn. */
function crowd(times: number, path: string, request: RequestInit): Promise<Response[]> {
  return Promise.all(
    Array.from({ length: times }, (_, index) => (index % 2 === 0 ? here : there).fetch(path, request)),
  );
}

/** Everybody was given the one answer or told to wait. */
async function expectOneAnswer(responses: Response[]): Promise<string | undefined> {
  const others = responses.filter(({ status }) => status !== 200 && status !== 409);
  expect(await Promise.all(others.map((response) => response.text()))).toEqual([]);
  for (const response of responses.filter(({ status }) => status === 409)) {
    expect((await readAnswer(response)).type).toMatch(/in-flight$/);
  }
  const bodies = await Promise.all(responses.filter(({ ok }) => ok).map(readAnswer));
  const [answer, ...rest] = new Set(
    bodies.map(({ receipt_id, result }) => JSON.stringify([receipt_id, result])),
  );
  expect(rest).toEqual([]);
  return answer;
}

describe.each(ALL_CASES)('$name over two gateway processes', (railCase: RailCase) => {
  test('the same credential 20 times at once is one execution and one charge', async () => {
    const payer = await railCase.createPayer(lab);
    const before = await railCase.received(lab);
    const claims = (await readRailClaims(lab, railCase.rail)).length;
    const { label, request } = newCall();
    const path = pathOf(shop, railCase);
    const paid = await payFor(here, payer, path, request);
    await expectOneAnswer(await crowd(20, path, paid));
    const answer = await expectOneAnswer([await there.fetch(path, paid)]);
    expect(answer).toBeTruthy();
    expect(await expectOneAnswer([await here.fetch(path, paid)])).toBe(answer);
    expect(runsOf(label)).toBe(1);
    expect((await railCase.received(lab)) - before).toBe(railCase.units);
    expect((await readRailClaims(lab, railCase.rail)).length - claims).toBe(1);
  });

  test('ten different payments at once are ten executions and ten charges', async () => {
    const path = pathOf(shop, railCase);
    const before = await railCase.received(lab);
    const calls: (ReturnType<typeof newCall> & { payer: Payer })[] = [];
    for (let index = 0; index < 10; index += 1) {
      calls.push({ ...newCall(), payer: await railCase.createPayer(lab) });
    }
    const answers = await Promise.all(
      calls.map(async ({ request, payer }, index) => {
        const paid = await payFor(index % 2 === 0 ? there : here, payer, path, request);
        return (index % 2 === 0 ? here : there).fetch(path, paid);
      }),
    );
    const bodies = await Promise.all(answers.map(readAnswer));
    expect(
      answers.map(({ status }) => status),
      JSON.stringify(bodies),
    ).toEqual(Array(10).fill(200));
    expect(new Set(bodies.map(({ receipt_id }) => receipt_id)).size).toBe(10);
    expect(calls.map(({ label }) => runsOf(label))).toEqual(Array(10).fill(1));
    expect((await railCase.received(lab)) - before).toBe(10n * railCase.units);
  });

  test('one signup paid once and asked for 20 times at once is one key', async () => {
    const payer = await railCase.createPayer(lab);
    const before = await railCase.received(lab);
    const request = jsonBody({ label: railCase.name });
    // A key for ten cents is too small for a card: more balance is not.
    const key = await here.mint(0);
    const isCard = railCase.rail === 'stripe';
    const [path, init] = isCard
      ? ['/v1/topup', jsonBody({ amount_mcents: 60_000 }, { authorization: `Bearer ${key}` })]
      : ['/v1/signup', request];
    const paid = await payFor(here, payer, path, init);
    const responses = await crowd(20, path, paid);
    const odd = responses.filter(({ status }) => status !== 200 && status !== 409);
    expect(await Promise.all(odd.map((response) => response.text()))).toEqual([]);
    const last = await readAnswer(await there.fetch(path, paid));
    const bodies = await Promise.all(responses.filter(({ ok }) => ok).map(readAnswer));
    expect(new Set([...bodies, last].map((body) => body.key)).size).toBe(1);
    expect(last.balance_mcents).toBe(isCard ? 60_000 : 10_000);
    const grown = (await railCase.received(lab)) - before;
    expect(grown).toBe({ evm: 100_000n, tempo: 100_000n, lightning: 101_000n, stripe: 60n }[railCase.rail]);
  });
});

describe('a client that retries three payments', () => {
  const clients = [
    ['tempo pull', async () => createTempoClient(lab, await lab.tempo.fundPayer(), 'pull'), ALL_CASES[1]],
    ['tempo push', async () => createTempoClient(lab, await lab.tempo.fundPayer(), 'push'), ALL_CASES[2]],
    ['stripe', async () => createStripeClient(lab), ALL_CASES[4]],
  ] as const;

  test.each(clients)(
    'is charged once by %s when the answer to its settlement is lost',
    async (name, make, railCase) => {
      if (!railCase) throw new Error('no such rail');
      const client = await make();
      const before = await railCase.received(lab);
      const path = pathOf(shop, railCase);
      const { label, request } = newCall();
      // What the rail says goes unheard from the moment the money has moved until the client has given up.
      hooks.before = () => {
        lab.stripe.faults.add({ operation: 'payment.capture', when: 'after' });
        lab.stripe.faults.add({ operation: 'payment.retrieve', when: 'before' });
      };
      const settle = here.deps.http.settings.settleTimeoutMs;
      here.deps.http.settings = { ...here.deps.http.settings, settleTimeoutMs: 2_000, outcomeWaitMs: 500 };
      let isLost = false;
      lab.doors.tempo?.decide((method) => {
        isLost ||= name === 'tempo pull' ? method === 'eth_sendRawTransaction' : hooks.runs.includes(label);
        return isLost ? 'swallow' : 'pass';
      });
      const first = await client.fetch(here.url + path, request);
      hooks.before = undefined;
      lab.mend();
      here.deps.http.settings = {
        ...here.deps.http.settings,
        settleTimeoutMs: settle,
        outcomeWaitMs: 25_000,
      };
      const body = await readAnswer(first);
      if (name !== 'tempo push') expect(first.status, JSON.stringify(body)).toBe(503);
      await expectReconciled(lab, here);
      expect((await railCase.received(lab)) - before).toBe(railCase.units);
      expect(runsOf(label)).toBeLessThanOrEqual(1);
    },
  );
});
