import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { adoptOrphans, reconcileSettlements } from '../../src/gateway/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { haltAt } from '../harness/halting-gateway.ts';
import { waitUntil } from '../harness/process.ts';
import {
  expectTrueBooks,
  type FaultLab,
  hookRuns,
  type RunHooks,
  readClaims,
  startFaultLab,
  withHeaders,
} from './fault-lab.ts';
import { type Agent, createAgent, jsonBody, publishEcho, readAnswer } from './fixtures.ts';

const PRICE_UNITS = 500n;
const DEAR_UNITS = 200_000n;

let lab: FaultLab;
let gateways: [TestGateway, TestGateway];
let cheap: string;
let dear: string;
let calls = 0;
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startFaultLab();
  const change = ({ http }: TestGateway['deps']) => hookRuns(http, hooks);
  gateways = [await lab.start({ change }), await lab.start({ change })];
  cheap = (await publishEcho(gateways[0])).call;
  dear = (await publishEcho(gateways[0], { pricing: { model: 'per_call', amount_mcents: 20_000 } })).call;
});
afterAll(async () => {
  await expectTrueBooks(lab, gateways[1]);
  await lab.close();
});

function newCall(): { label: string; request: RequestInit } {
  calls += 1;
  const label = `call ${calls}`;
  return { label, request: jsonBody({ tool: 'random', arguments: { label } }) };
}

const runsOf = (label: string) => hooks.runs.filter((run) => run === label).length;

/** Sends the same request so often at once, to both gateways in turn. */
function crowd(times: number, path: string, request: RequestInit): Promise<Response[]> {
  return Promise.all(
    Array.from({ length: times }, (_, index) => gateways[index % 2 === 0 ? 0 : 1].fetch(path, request)),
  );
}

/** One answer, however many were given it; everybody else was told to wait. */
async function expectOneAnswer(responses: Response[]): Promise<string> {
  const answered = responses.filter(({ status }) => status === 200);
  const others = responses.filter(({ status }) => status !== 200);
  expect(others.filter(({ status }) => status !== 409)).toEqual([]);
  for (const response of others) expect((await readAnswer(response)).type).toMatch(/in-flight$/);
  const bodies = await Promise.all(answered.map(readAnswer));
  const [id, ...rest] = new Set(bodies.map(({ receipt_id, result }) => JSON.stringify([receipt_id, result])));
  expect(rest).toEqual([]);
  return id ?? '';
}

async function pay(agent: Agent, path: string, request: RequestInit): Promise<RequestInit> {
  return withHeaders(request, await agent.sign(await gateways[0].fetch(path, request)));
}

describe('two gateways on one database', () => {
  test.each([
    ['after its run', () => cheap, PRICE_UNITS],
    ['before its run', () => dear, DEAR_UNITS],
  ])('run one credential sent 20 times over both once, paid %s', async (_when, path, units) => {
    const agent = await createAgent(lab.anvil);
    const owned = await agent.owns();
    const { label, request } = newCall();
    const paid = await pay(agent, path(), request);
    const id = await expectOneAnswer(await crowd(20, path(), paid));
    expect(id).not.toBe('');
    expect(runsOf(label)).toBe(1);
    expect(owned - (await agent.owns())).toBe(units);
    expect(await readClaims(lab, agent)).toHaveLength(1);
    expect(await expectOneAnswer(await crowd(2, path(), paid))).toBe(id);
  });

  test('sell one key for one payment sent 20 times over both', async () => {
    const agent = await createAgent(lab.anvil);
    const owned = await agent.owns();
    const paid = await pay(agent, '/v1/signup', jsonBody({}));
    const responses = await crowd(20, '/v1/signup', paid);
    expect(responses.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
    const keys = await Promise.all(responses.filter(({ ok }) => ok).map(readAnswer));
    expect(new Set(keys.map(({ key }) => key)).size).toBe(1);
    expect(owned - (await agent.owns())).toBe(100_000n);
  });

  test('make exactly 10 of 64 calls at once on a balance for 10', async () => {
    const key = await gateways[0].mint(500);
    const { label, request } = newCall();
    const responses = await crowd(64, cheap, withHeaders(request, { authorization: `Bearer ${key}` }));
    const statuses = responses.map(({ status }) => status).sort();
    expect(statuses).toEqual([...Array(10).fill(200), ...Array(54).fill(402)]);
    expect(runsOf(label)).toBe(10);
    const balance = await gateways[1].fetch('/v1/balance', { headers: { authorization: `Bearer ${key}` } });
    expect(await readAnswer(balance)).toMatchObject({ balance_mcents: 0 });
  });

  test('run one Idempotency-Key sent 20 times over both once, and charge it once', async () => {
    const authorization = `Bearer ${await gateways[0].mint(500)}`;
    const { label, request } = newCall();
    const keyed = withHeaders(request, { authorization, 'idempotency-key': 'the same' });
    const id = await expectOneAnswer(await crowd(20, cheap, keyed));
    expect(runsOf(label)).toBe(1);
    expect(await expectOneAnswer(await crowd(2, cheap, keyed))).toBe(id);
    const other = withHeaders(newCall().request, { authorization, 'idempotency-key': 'the same' });
    expect((await gateways[1].fetch(cheap, other)).status).toBe(409);
    const balance = await gateways[1].fetch('/v1/balance', { headers: { authorization } });
    expect(await readAnswer(balance)).toMatchObject({ balance_mcents: 450 });
  });

  test('let 30 payers pay at once through one wallet, each exactly once', async () => {
    const agents: Agent[] = [];
    for (let index = 0; index < 30; index += 1) agents.push(await createAgent(lab.anvil, 1));
    const responses = await Promise.all(
      agents.map((agent, index) =>
        agent.fetch(gateways[index % 2 === 0 ? 0 : 1].url + cheap, newCall().request),
      ),
    );
    expect(responses.map(({ status }) => status)).toEqual(Array(30).fill(200));
    for (const agent of agents) expect(await agent.owns()).toBe(1_000_000n - PRICE_UNITS);
  });

  test('leave a call that pays before its run to the request that settles it', async () => {
    const agent = await createAgent(lab.anvil);
    let isOver = false;
    const reconcile = async () => {
      while (!isOver) await reconcileSettlements(gateways[1].deps.http, AbortSignal.timeout(10_000));
    };
    const reconciling = [reconcile(), reconcile()];
    try {
      for (let index = 0; index < 12; index += 1) {
        const response = await agent.fetch(gateways[0].url + dear, newCall().request);
        expect(response.status, await response.text()).toBe(200);
      }
    } finally {
      isOver = true;
      await Promise.all(reconciling);
    }
  });
});

describe('a gateway that is killed while another one lives', () => {
  test('leaves its settlements, answers and runs to the other one within seconds', async () => {
    const dying = await lab.startHalting();
    const send = async (point: 'after-run' | 'before-settle' | 'after-broadcast') => {
      const agent = await createAgent(lab.anvil);
      const { label, request } = newCall();
      const paid = await pay(agent, cheap, request);
      dying.fetch(cheap, withHeaders(paid, haltAt(point, label))).catch(() => {});
      await waitUntil(() => dying.halted.includes(label));
      return { agent, label, paid };
    };
    const running = await send('after-run');
    const settling = await send('before-settle');
    const mined = await send('after-broadcast');
    await dying.kill();

    const survivor = gateways[1];
    for (const { agent, paid, label } of [settling, mined]) {
      await waitUntil(async () => (await readClaims(lab, agent))[0]?.state === 'delivered');
      const answer = await readAnswer(await survivor.fetch(cheap, paid));
      expect(answer.result).toEqual(dying.runs.find((run) => run.label === label)?.result);
    }
    for (const { agent } of [settling, mined]) expect(await agent.owns()).toBe(10_000_000n - PRICE_UNITS);
    await waitUntil(async () => (await readClaims(lab, running.agent))[0]?.state === 'failed');
    const refused = await survivor.fetch(cheap, running.paid);
    expect(await readAnswer(refused)).toMatchObject({ status: 402, note: 'no charge applied' });
    expect(await running.agent.owns()).toBe(10_000_000n);
  });

  test('on another host: a payer who signs again at once waits for its answer, and does not pay again', async () => {
    const dying = await lab.startHalting();
    const agent = await createAgent(lab.anvil);
    const { label, request } = newCall();
    const paid = await pay(agent, cheap, request);
    dying.fetch(cheap, withHeaders(paid, haltAt('after-broadcast', label))).catch(() => {});
    await waitUntil(() => dying.halted.includes(label));
    // Nobody here can see its process end: it is only silent.
    await lab.database
      .sql`UPDATE payment_worker SET host = 'elsewhere', heartbeat_at = now() - interval '6 seconds'
      WHERE pid = ${dying.pid}`;
    await dying.kill();
    const answer = await readAnswer(await gateways[1].fetch(cheap, await pay(agent, cheap, request)));
    expect(answer.result).toEqual(dying.runs.find((run) => run.label === label)?.result);
    expect(await agent.owns()).toBe(10_000_000n - PRICE_UNITS);
  });
});

describe('a gateway that the others believe dead', () => {
  test('loses the run it was at, serves its next calls, and charges nobody twice', async () => {
    const [alive, other] = gateways;
    const agent = await createAgent(lab.anvil);
    const { label, request } = newCall();
    let open = () => {};
    hooks.before = () =>
      new Promise<void>((resolve) => {
        open = resolve;
      });
    const sent = alive.fetch(cheap, await pay(agent, cheap, request));
    await waitUntil(() => runsOf(label) === 1);
    hooks.before = undefined;
    const before = alive.deps.http.worker.id;
    await lab.database.sql`UPDATE payment_worker SET stopped_at = now() WHERE id = ${before}`;
    await adoptOrphans(other.deps.http);
    open();
    expect(await readAnswer(await sent)).toMatchObject({ status: 503, note: 'no charge applied' });
    await waitUntil(() => alive.deps.http.worker.id !== before);
    expect((await agent.fetch(alive.url + cheap, request)).status).toBe(200);
    expect(await agent.owns()).toBe(10_000_000n - PRICE_UNITS);
  });
});
