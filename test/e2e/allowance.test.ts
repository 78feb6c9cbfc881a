import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { expectTrueBooks, type FaultLab, hookRuns, type RunHooks, startFaultLab } from './fault-lab.ts';
import { createAgent, jsonBody, publishEcho, submission } from './fixtures.ts';
import { balanceOf, bearer, countByStatus, expectFreeProblem, expectProblem, times } from './surface.ts';

type Delivered = { charged_mcents: number; free_calls_left?: number; receipt_id?: string; result: unknown };
type Calls = Awaited<ReturnType<typeof publishEcho>>;

let lab: FaultLab;
let gateways: [TestGateway, TestGateway];
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startFaultLab();
  const change = ({ http }: TestGateway['deps']) => hookRuns(http, hooks);
  gateways = [await lab.start({ change }), await lab.start({ change })];
});
afterAll(async () => {
  await expectTrueBooks(lab, gateways[0]);
  await lab.close();
});

const asks = (index: number) => gateways[index % 2 === 0 ? 0 : 1];
const pricing = (free: unknown) => ({ pricing: { model: 'per_call', amount_mcents: 50, free } });
const publish = (free: unknown) => publishEcho(gateways[0], pricing(free));

function call(
  { call: path }: Calls,
  key: string | undefined,
  input: { tool?: string; gateway?: TestGateway; once?: string } = {},
): Promise<Response> {
  const { tool = 'random', gateway = gateways[0], once } = input;
  const headers = { ...(key ? bearer(key) : {}), ...(once ? { 'idempotency-key': once } : {}) };
  return gateway.fetch(path, jsonBody({ tool, arguments: {} }, headers));
}

async function deliver(...asked: Parameters<typeof call>): Promise<Delivered> {
  const response = await call(...asked);
  const text = await response.text();
  expect([response.status, text]).toEqual([200, text]);
  return JSON.parse(text);
}

/** A premium account's key: its quota is not what is in the way. */
async function mintPremium(balance: number): Promise<string> {
  const key = await gateways[0].mint(balance);
  expect((await setTier(await idOf(key), 'premium')).status).toBe(200);
  return key;
}

const setTier = (key_id: string, tier: string, adminKey = gateways[0].adminKey) =>
  gateways[0].fetch('/v1/admin/tier', jsonBody({ key_id, tier }, { 'x-admin-key': adminKey }));

async function idOf(key: string): Promise<string> {
  const response = await gateways[0].fetch('/v1/keys', { headers: bearer(key) });
  const { keys } = (await response.json()) as { keys: { id: string }[] };
  return keys[0]?.id ?? '';
}

/** A day passes for everybody's counters. */
async function passDay(): Promise<void> {
  for (const table of ['free_counter', 'free_take']) {
    await lab.database.sql`UPDATE ${lab.database.sql(table)}
      SET period = to_char(period::date - 1, 'YYYY-MM-DD') WHERE period <> 'ever'`;
  }
}

describe('a free allowance', () => {
  test('makes the first calls of an account free, without a receipt, and the next one is paid', async () => {
    const tool = await publish({ first: 2 });
    const key = await gateways[0].mint(120);
    expect(await deliver(tool, key)).toMatchObject({ charged_mcents: 0, free_calls_left: 1 });
    const last = await deliver(tool, key);
    expect(last).toMatchObject({ charged_mcents: 0, free_calls_left: 0 });
    expect(last.receipt_id).toBeUndefined();
    const paid = await deliver(tool, key);
    expect(paid).toMatchObject({ charged_mcents: 50, receipt_id: expect.any(String) });
    expect(paid.free_calls_left).toBeUndefined();
    expect(await balanceOf(gateways[0], key)).toBe(70);
  });

  test('counts each tool by itself, and a tool’s own allowance goes before the server’s', async () => {
    const tool = await publish({ first: 1, tools: { sleep: { first: 0 }, liar: { per_day: 2 } } });
    const key = await mintPremium(0);
    expect(await deliver(tool, key)).toMatchObject({ charged_mcents: 0 });
    expect(await deliver(tool, key, { tool: 'gratis' })).toMatchObject({ charged_mcents: 0 });
    expect((await call(tool, key, { tool: 'sleep' })).status).toBe(402);
    expect((await call(tool, key)).status).toBe(402);
  });

  test('of so many a day starts anew with the day, and the first ones do not come back', async () => {
    const tool = await publish({ first: 1, per_day: 1 });
    const key = await mintPremium(0);
    expect(await deliver(tool, key)).toMatchObject({ free_calls_left: 1 });
    expect(await deliver(tool, key)).toMatchObject({ free_calls_left: 0 });
    expect((await call(tool, key)).status).toBe(402);
    await passDay();
    expect(await deliver(tool, key)).toMatchObject({ charged_mcents: 0, free_calls_left: 0 });
    expect((await call(tool, key)).status).toBe(402);
  });

  test('of five gives exactly five free calls to 20 at once over two gateways', async () => {
    const tool = await publish({ first: 3, per_day: 2 });
    const key = await mintPremium(0);
    const responses = await Promise.all(times(20, (index) => call(tool, key, { gateway: asks(index) })));
    const counts = countByStatus(responses);
    // What finds no place among the free calls is told to come again, and loses nothing by that.
    const free = counts[200] ?? 0;
    expect(free).toBeLessThanOrEqual(5);
    expect(free + (counts[402] ?? 0) + (counts[429] ?? 0)).toBe(20);
    for (let left = 5 - free; left > 0; left -= 1) await deliver(tool, key);
    expect((await call(tool, key)).status).toBe(402);
  });

  test('is one of the account, however many keys it has', async () => {
    const tool = await publish({ first: 2 });
    const root = await mintPremium(0);
    const children = await Promise.all(
      times(2, async () => {
        const response = await gateways[0].fetch('/v1/keys', jsonBody({}, bearer(root)));
        return ((await response.json()) as { key: string }).key;
      }),
    );
    for (const key of children) expect(await deliver(tool, key)).toMatchObject({ charged_mcents: 0 });
    for (const key of [root, ...children]) expect((await call(tool, key)).status).toBe(402);
  });

  test('is not for callers without a key, nor for one whose payment pays', async () => {
    const tool = await publish({ first: 1 });
    const challenge = await call(tool, undefined);
    expect(challenge.status).toBe(402);
    const agent = await createAgent(lab.anvil);
    const key = await mintPremium(0);
    const headers = { ...bearer(key), ...(await agent.sign(challenge)) };
    const paid = await gateways[0].fetch(tool.call, jsonBody({ tool: 'random', arguments: {} }, headers));
    expect(await paid.json()).toMatchObject({ ok: true, charged_mcents: 50 });
    expect(await deliver(tool, key)).toMatchObject({ charged_mcents: 0, free_calls_left: 0 });
  });

  test('works under caps that let nothing be spent', async () => {
    const tool = await publish({ first: 1 });
    const root = await mintPremium(100);
    const made = await gateways[0].fetch('/v1/keys', jsonBody({ caps: { total_mcents: 0 } }, bearer(root)));
    const { key } = (await made.json()) as { key: string };
    expect(await deliver(tool, key)).toMatchObject({ charged_mcents: 0 });
    await expectFreeProblem(await call(tool, key), 403, 'forbidden');
  });

  test('is given back when the call does not deliver', async () => {
    const tool = await publish({ first: 1 });
    const key = await mintPremium(0);
    for (const once of [undefined, 'failing']) {
      const failed = await call(tool, key, { tool: 'fail', ...(once ? { once } : {}) });
      await expectFreeProblem(failed, 502, 'tool-failed');
      await expectFreeProblem(await call(tool, key, { tool: 'liar' }), 502, 'tool-failed');
    }
    const [uses] = await lab.database.sql<{ used: number }[]>`SELECT sum(used)::int AS used FROM free_counter
      WHERE name LIKE ${`tool:${tool.id}%`}`;
    expect(uses?.used).toBe(0);
  });

  test('with an Idempotency-Key is used once by 20 at once, and its stored answer is given again', async () => {
    const tool = await publish({ first: 1 });
    const key = await mintPremium(0);
    const responses = await Promise.all(
      times(20, (index) => call(tool, key, { gateway: asks(index), once: 'one' })),
    );
    expect(responses.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
    const again = await deliver(tool, key, { once: 'one' });
    expect(again.charged_mcents).toBe(0);
    for (const response of responses.filter(({ ok }) => ok)) {
      expect(await response.json()).toMatchObject({ charged_mcents: 0, result: again.result });
    }
    expect((await call(tool, key, { once: 'two' })).status).toBe(402);
  });

  test('of a run whose gateway died is given back when its time is over, and not before', async () => {
    const tool = await publish({ first: 1 });
    const key = await mintPremium(0);
    let open = () => {};
    const isRunning = new Promise<void>((running) => {
      hooks.before = () => {
        running();
        return new Promise<void>((resolve) => {
          open = resolve;
        });
      };
    });
    const late = call(tool, key);
    await isRunning;
    hooks.before = undefined;
    expect((await call(tool, key, { gateway: gateways[1] })).status).toBe(402);
    await lab.database.sql`UPDATE free_take SET expires_at = now() - interval '1 second'`;
    expect(await deliver(tool, key, { gateway: gateways[1] })).toMatchObject({ charged_mcents: 0 });
    open();
    await expectFreeProblem(await late, 503, 'unavailable');
    expect((await call(tool, key)).status).toBe(402);
  });
});

describe('the quota of a tier', () => {
  test('is three free calls a day over all tools, and fifty for premium accounts', async () => {
    const tools = [await publish({ first: 100 }), await publish({ per_day: 100 })] as const;
    const key = await gateways[0].mint(50);
    for (const [left, tool] of [tools[0], tools[1], tools[0]].entries()) {
      expect(await deliver(tool, key)).toMatchObject({ charged_mcents: 0, free_calls_left: 2 - left });
    }
    expect(await deliver(tools[1], key)).toMatchObject({ charged_mcents: 50 });
    const raised = await setTier(await idOf(key), 'premium');
    expect(await raised.json()).toMatchObject({ ok: true, tier: 'premium', allowance_calls_per_day: 50 });
    expect(await deliver(tools[1], key)).toMatchObject({ charged_mcents: 0, free_calls_left: 46 });
    const balance = await gateways[0].fetch('/v1/balance', { headers: bearer(key) });
    expect(await balance.json()).toMatchObject({ tier: 'premium' });
  });

  test('may count tools that cost nothing, too', async () => {
    const limited = await lab.start({
      change: ({ http }) => {
        http.settings.tiers = [{ name: 'free', allowanceCallsPerDay: 0, freeToolCallsPerDay: 1 }];
      },
    });
    const tool = await publishEcho(gateways[0]);
    const key = await limited.mint(0);
    const gratis = { tool: 'gratis', gateway: limited };
    expect(await deliver(tool, key, gratis)).toMatchObject({ charged_mcents: 0, free_calls_left: 0 });
    const refused = await call(tool, key, gratis);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    await expectFreeProblem(refused, 429, 'too-many-requests');
  });

  test('is set by the operator alone, to a tier there is, for a key there is', async () => {
    const id = await idOf(await gateways[0].mint(0));
    await expectProblem(await setTier(id, 'premium', 'wrong'), 401, 'unauthorized');
    await expectProblem(await setTier(id, 'gold'), 400, 'malformed-request');
    await expectProblem(await setTier('x', 'premium'), 404, 'not-found');
    await expectProblem(await setTier('00000000-0000-4000-8000-000000000000', 'premium'), 404, 'not-found');
  });
});

describe('publishing an allowance', () => {
  const refuse = async (pricing: unknown) => {
    const key = await gateways[0].mint(0, ['publish']);
    const body = submission(`refused-${process.pid}/echo`, { pricing });
    return expectProblem(
      await gateways[0].fetch('/mcp', jsonBody(body, bearer(key))),
      422,
      'invalid-arguments',
    );
  };

  test('shows it in the listing, as it was sent', async () => {
    const free = { first: 3, per_day: 1, tools: { random: { per_day: 5 } } };
    const tool = await publish(free);
    const listing = await gateways[1].fetch(`/mcp/${tool.id}`);
    expect(await listing.json()).toMatchObject({ pricing: { free } });
    const search = await gateways[1].fetch(`/mcp?q=${tool.name.split('/')[0]}`);
    const { servers } = (await search.json()) as { servers: { name: string; pricing: unknown }[] };
    expect(servers.find(({ name }) => name === tool.name)?.pricing).toMatchObject({ free });
  });

  test.each([
    ['that says nothing', { free: {} }, 'pricing.free'],
    ['of less than nothing', { free: { first: -1 } }, 'pricing.free.first'],
    ['of a fraction', { free: { per_day: 0.5 } }, 'pricing.free.per_day'],
    ['with an unknown member', { free: { per_week: 1 } }, 'pricing.free'],
    ['of a tool that is not there', { free: { tools: { nothing: { first: 1 } } } }, 'pricing.free.tools'],
    ['of a tool that says nothing', { free: { tools: { random: {} } } }, 'pricing.free.tools.random'],
    ['on a free server', { model: 'free', amount_mcents: 0, free: { first: 1 } }, 'pricing.free'],
  ])('%s is refused by its name', async (_what, change, field) => {
    const body = await refuse({ model: 'per_call', amount_mcents: 50, ...change });
    expect(body).toMatchObject({ field });
  });
});
