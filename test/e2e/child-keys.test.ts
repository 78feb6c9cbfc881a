import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody, publishEcho } from './fixtures.ts';
import {
  balanceOf,
  bearer,
  countByStatus,
  expectFreeProblem,
  expectProblem,
  type Surface,
  startSurface,
  times,
} from './surface.ts';

/** `/v1/example`, which runs in the gateway and is charged in one statement. */
const EXAMPLE_PRICE = 100;
/** `random` of the test server, which is held for, run and captured. */
const RANDOM_PRICE = 50;

type Child = {
  key: string;
  id: string;
  parent_id: string;
  scopes: string[];
  tools: string[] | null;
  expires_at: string | null;
  balance_mcents: number;
};
type ListedKey = {
  id: string;
  parent_id: string | null;
  revoked_at: string | null;
  caps?: Record<string, number | null>;
  used?: { hour_mcents: number; total_mcents: number; held_mcents: number };
};

let surface: Surface;
let gateways: [TestGateway, TestGateway];
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  surface = await startSurface();
  gateways = [surface.gateway, await surface.startAnother({ env: {}, anvil: surface.anvil })];
  echo = await publishEcho(surface.gateway);
});
afterAll(() => surface.close());

const one = () => gateways[0];
const asks = (index: number) => gateways[index % 2 === 0 ? 0 : 1];
const postKey = (parent: string, body: unknown) => one().fetch('/v1/keys', jsonBody(body, bearer(parent)));

async function makeChild(parent: string, body: unknown = {}): Promise<Child> {
  const response = await postKey(parent, body);
  const text = await response.text();
  expect([response.status, text]).toEqual([200, text]);
  return JSON.parse(text);
}

async function listKeys(key: string): Promise<ListedKey[]> {
  const response = await one().fetch('/v1/keys', { headers: bearer(key) });
  expect(response.status).toBe(200);
  return ((await response.json()) as { keys: ListedKey[] }).keys;
}

const useOf = async (owner: string, id: string) => (await listKeys(owner)).find((key) => key.id === id)?.used;

const callExample = (key: string, gateway = one(), headers: Record<string, string> = {}) =>
  gateway.fetch('/v1/example', { headers: { ...bearer(key), ...headers } });
const callTool = (key: string, tool: string, gateway = one(), headers: Record<string, string> = {}) =>
  gateway.fetch(echo.call, jsonBody({ tool, arguments: {} }, { ...bearer(key), ...headers }));

describe('a child key', () => {
  test('is shown once, spends the account of its parent, and has no more rights than asked for', async () => {
    const parent = await one().mint(1_000);
    const response = await postKey(parent, { label: 'night shift', scopes: ['example'] });
    expect(response.headers.get('cache-control')).toBe('no-store');
    const child = (await response.json()) as Child;
    expect(child).toMatchObject({
      ...{ ok: true, key: expect.stringMatching(/^mcp_[0-9a-f]{48}$/), key_shown_once: true },
      ...{ balance_mcents: 1_000, scopes: ['example'], label: 'night shift', tools: null, expires_at: null },
      caps: { per_call_mcents: null, per_hour_mcents: null, total_mcents: null },
    });
    expect((await callExample(child.key)).status).toBe(200);
    expect(await balanceOf(one(), parent)).toBe(900);
    await expectFreeProblem(await callTool(child.key, 'random'), 403, 'forbidden');
  });

  test.each([
    ['a scope its parent lacks', { scopes: ['read'] }],
    ['every scope', { scopes: ['all'] }],
    ['a later end', { expires_at: '2999-01-01T00:00:00Z' }],
    ['another tool', { tools: ['acme/other'] }],
    ['the server of its one tool', { tools: ['acme/text'] }],
  ])('never gets %s', async (_what, body) => {
    const root = await one().mint(100);
    const limits = { expires_at: '2998-01-01T00:00:00Z', tools: ['acme/text/count'] };
    const parent = await makeChild(root, limits);
    await expectFreeProblem(await postKey(parent.key, body), 403, 'forbidden');
    expect(await listKeys(parent.key)).toHaveLength(1);
  });

  test.each([
    ['no scope', { scopes: [] }],
    ['an unknown scope', { scopes: ['root'] }],
    ['a cap of less than nothing', { caps: { total_mcents: -1 } }],
    ['a fraction', { caps: { per_call_mcents: 1.5 } }],
    ['a number as text', { caps: { per_hour_mcents: '5' } }],
    ['an unknown cap', { caps: { per_day_mcents: 5 } }],
    ['an end that has passed', { expires_at: '2020-01-01T00:00:00Z' }],
    ['an end that is no time', { expires_at: 'tomorrow' }],
    ['no tool', { tools: [] }],
    ['a tool that is no name', { tools: ['everything'] }],
    ['an unknown member', { balance_mcents: 5 }],
  ])('with %s is malformed', async (_what, body) => {
    const parent = await one().mint(100);
    await expectFreeProblem(await postKey(parent, body), 400, 'malformed-request');
  });

  test('needs a key to make it', async () => {
    await expectFreeProblem(await one().fetch('/v1/keys', jsonBody({})), 401, 'unauthorized');
    await expectFreeProblem(await postKey(`mcp_${'0'.repeat(48)}`, {}), 401, 'unauthorized');
  });

  test('has children of its own, three levels down and no further', async () => {
    const root = await one().mint(100);
    let last = await makeChild(root);
    for (const _level of [2, 3]) {
      const next = await makeChild(last.key, { scopes: ['example'] });
      expect(next.parent_id).toBe(last.id);
      last = next;
    }
    await expectFreeProblem(await postKey(last.key, {}), 403, 'forbidden');
  });

  test('inherits tools and end from its parent', async () => {
    const limits = { expires_at: '2998-01-01T00:00:00.000Z', tools: [`${echo.name}/random`] };
    const child = await makeChild(await one().mint(500), limits);
    const grandchild = await makeChild(child.key);
    expect(grandchild).toMatchObject(limits);
    expect((await callTool(grandchild.key, 'random')).status).toBe(200);
    await expectFreeProblem(await callTool(grandchild.key, 'gratis'), 403, 'forbidden');
    await expectFreeProblem(await callExample(grandchild.key), 403, 'forbidden');
  });

  test('may call the tools it names whoever pays, and no others', async () => {
    const child = await makeChild(await one().mint(0), { tools: [`${echo.name}/random`] });
    const agent = await createAgent(surface.anvil);
    const challenge = await callTool(child.key, 'random');
    expect(challenge.status).toBe(402);
    const paid = await agent.sign(challenge);
    await expectFreeProblem(await callTool(child.key, 'liar', one(), paid), 403, 'forbidden');
    expect((await callTool(child.key, 'random', one(), paid)).status).toBe(200);
  });
});

describe('caps', () => {
  test('refuse with 403 that names the cap, without a charge and without a challenge', async () => {
    const parent = await one().mint(1_000);
    const caps = [
      ['per_call_mcents', 99],
      ['per_hour_mcents', 150],
      ['total_mcents', 199],
    ] as const;
    for (const [cap, value] of caps) {
      const child = await makeChild(parent, { caps: { [cap]: value } });
      if (value > EXAMPLE_PRICE) expect((await callExample(child.key)).status).toBe(200);
      for (const headers of [{}, { 'idempotency-key': 'once' }]) {
        const refusal = await callExample(child.key, one(), headers);
        if (cap === 'per_hour_mcents') {
          expect(Number(refusal.headers.get('retry-after'))).toBeGreaterThan(0);
          expect(Number(refusal.headers.get('retry-after'))).toBeLessThanOrEqual(3_601);
        }
        const body = await expectFreeProblem(refusal, 403, 'forbidden');
        const left_mcents = value > EXAMPLE_PRICE ? value - EXAMPLE_PRICE : value;
        expect(body).toMatchObject({ cap, cap_of: 'key', cap_mcents: value, left_mcents });
        expect(body.detail).toContain(cap);
      }
    }
    expect(await balanceOf(one(), parent)).toBe(800);
  });

  test('do not stand in the way of a payment of the call’s own', async () => {
    const child = await makeChild(await one().mint(1_000), { caps: { total_mcents: 0 } });
    await expectFreeProblem(await callTool(child.key, 'random'), 403, 'forbidden');
    const agent = await createAgent(surface.anvil);
    const challenge = await one().fetch(echo.call, jsonBody({ tool: 'random', arguments: {} }));
    const paid = await callTool(child.key, 'random', one(), await agent.sign(challenge));
    expect(paid.status).toBe(200);
  });

  test.each(['per_hour_mcents', 'total_mcents'])(
    '%s holds to the millicent for 20 calls at once over two gateways',
    async (cap) => {
      const parent = await one().mint(10_000);
      const tools = await makeChild(parent, { caps: { [cap]: 7 * RANDOM_PRICE + 49 } });
      const examples = await makeChild(parent, { caps: { [cap]: 7 * EXAMPLE_PRICE + 99 } });
      const once = (index: number): Record<string, string> =>
        index % 4 === 3 ? { 'idempotency-key': `call ${index}` } : {};
      const responses = await Promise.all(
        times(20, (index) => callTool(tools.key, 'random', asks(index), once(index))),
      );
      expect(countByStatus(responses)).toEqual({ 200: 7, 403: 13 });
      expect(await useOf(parent, tools.id)).toMatchObject({
        total_mcents: 350,
        hour_mcents: 350,
        held_mcents: 0,
      });
      const charged = await Promise.all(
        times(20, (index) => callExample(examples.key, asks(index), once(index))),
      );
      expect(countByStatus(charged)).toEqual({ 200: 7, 403: 13 });
      expect(await useOf(parent, examples.id)).toMatchObject({ total_mcents: 700, held_mcents: 0 });
      expect(await balanceOf(one(), parent)).toBe(10_000 - 350 - 700);
    },
  );

  test('of every key above a key apply to it, and are told as those of an ancestor', async () => {
    const root = await one().mint(10_000);
    const child = await makeChild(root, { caps: { total_mcents: 500 } });
    const grandchildren = [
      await makeChild(child.key),
      await makeChild(child.key, { caps: { total_mcents: 300 } }),
    ];
    const responses = await Promise.all(
      times(20, (index) => callExample(grandchildren[index % 2]?.key ?? '', asks(index >> 1))),
    );
    expect(countByStatus(responses)).toEqual({ 200: 5, 403: 15 });
    expect(await useOf(root, child.id)).toMatchObject({ total_mcents: 500 });
    const refusal = await expectFreeProblem(await callExample(grandchildren[0]?.key ?? ''), 403, 'forbidden');
    expect(refusal).toMatchObject({ cap: 'total_mcents', cap_of: 'ancestor', left_mcents: 0 });
    expect(await balanceOf(one(), root)).toBe(9_500);
  });

  test('get back what was not delivered', async () => {
    const parent = await one().mint(10_000);
    const child = await makeChild(parent, { caps: { per_hour_mcents: 250, total_mcents: 250 } });
    for (const headers of [{}, { 'idempotency-key': 'fails' }]) {
      await expectFreeProblem(await callTool(child.key, 'fail', one(), headers), 502, 'tool-failed');
      expect(await useOf(parent, child.id)).toEqual({
        ...{ hour_mcents: 0, total_mcents: 0, held_mcents: 0, hour_ends_at: expect.any(String) },
      });
    }
    expect((await callTool(child.key, 'random')).status).toBe(200);
  });

  test('bound what a key is told it can spend', async () => {
    const parent = await one().mint(1_000);
    const child = await makeChild(parent, { caps: { total_mcents: 350 } });
    expect(child.balance_mcents).toBe(350);
    expect(await (await callExample(child.key)).json()).toMatchObject({ balance_mcents: 250 });
    const once = await callExample(child.key, one(), { 'idempotency-key': 'told' });
    expect(await once.json()).toMatchObject({ balance_mcents: 150 });
    const balance = await one().fetch('/v1/balance', { headers: bearer(child.key) });
    expect(await balance.json()).toMatchObject({
      ...{ balance_mcents: 150, caps: { total_mcents: 350 }, used: { total_mcents: 200 } },
    });
    expect(await balanceOf(one(), parent)).toBe(800);
  });
});

describe('what a child sees', () => {
  test('is itself and what is below it: no parent, no siblings, none of their calls', async () => {
    const root = await one().mint(10_000);
    const [child, sibling] = [await makeChild(root), await makeChild(root, { caps: { total_mcents: 500 } })];
    const grandchild = await makeChild(child.key);
    expect((await listKeys(root)).map(({ id }) => id)).toEqual(
      expect.arrayContaining([child.id, sibling.id, grandchild.id]),
    );
    expect((await listKeys(child.key)).map(({ id }) => id).sort()).toEqual([child.id, grandchild.id].sort());
    expect((await listKeys(grandchild.key)).map(({ id }) => id)).toEqual([grandchild.id]);
    for (const key of [root, sibling.key, grandchild.key]) await callExample(key);
    const callsOf = async (key: string) => {
      const response = await one().fetch('/v1/calls', { headers: bearer(key) });
      return ((await response.json()) as { calls: unknown[] }).calls.length;
    };
    expect([await callsOf(root), await callsOf(child.key), await callsOf(grandchild.key)]).toEqual([3, 1, 1]);
  });

  test('is all it can change: neither its parent nor its siblings are there for it', async () => {
    const root = await one().mint(100);
    const [child, sibling] = [await makeChild(root), await makeChild(root)];
    for (const id of [child.parent_id, sibling.id]) {
      for (const verb of ['revoke', 'rotate']) {
        const path = `/v1/keys/${id}/${verb}`;
        await expectProblem(await one().fetch(path, jsonBody({}, bearer(child.key))), 404, 'not-found');
      }
    }
    expect((await callExample(sibling.key)).status).toBe(200);
  });
});

test('an Idempotency-Key is a child’s own: no key gets the stored answer of its parent or a sibling', async () => {
  const root = await one().mint(1_000);
  const keys = [root, (await makeChild(root)).key, (await makeChild(root)).key];
  const once = { 'idempotency-key': 'the same' };
  const results: unknown[] = [];
  for (const key of keys) {
    const { result } = (await (await callTool(key, 'random', one(), once)).json()) as { result: unknown };
    results.push(result);
    expect(await (await callTool(key, 'random', gateways[1], once)).json()).toMatchObject({ result });
  }
  expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(3);
  expect(await balanceOf(one(), root)).toBe(1_000 - 3 * RANDOM_PRICE);
});

describe('revoking a key', () => {
  const revoke = (owner: string, id: string) =>
    one().fetch(`/v1/keys/${id}/revoke`, jsonBody({}, bearer(owner)));

  test('ends all below it at once, also in another gateway that has just served them', async () => {
    const root = await one().mint(10_000);
    const child = await makeChild(root);
    const grandchild = await makeChild(child.key, { caps: { total_mcents: 5_000 } });
    for (const key of [child.key, grandchild.key]) {
      for (const gateway of gateways) expect((await callExample(key, gateway)).status).toBe(200);
    }
    expect((await revoke(root, child.id)).status).toBe(200);
    for (const key of [child.key, grandchild.key]) {
      for (const gateway of gateways) {
        await expectFreeProblem(await callExample(key, gateway), 401, 'unauthorized');
        const once = { 'idempotency-key': 'revoked' };
        await expectFreeProblem(await callExample(key, gateway, once), 401, 'unauthorized');
      }
    }
    const listed = await listKeys(root);
    expect(listed.filter((key) => key.revoked_at !== null)).toHaveLength(2);
    expect((await callExample(root)).status).toBe(200);
  });

  test('leaves no child behind that was made at that very moment', async () => {
    const root = await one().mint(10_000);
    const child = await makeChild(root);
    const [made] = await Promise.all([
      Promise.all(times(20, () => postKey(child.key, {}))),
      revoke(root, child.id),
    ]);
    expect(made.every(({ status }) => status === 200 || status === 401)).toBe(true);
    expect((await listKeys(root)).filter((key) => key.parent_id && key.revoked_at === null)).toEqual([]);
  });

  test('of an ancestor that expires is as good as done', async () => {
    const root = await one().mint(1_000);
    const later = new Date(Date.now() + 3_600_000).toISOString();
    const child = await makeChild(root, { expires_at: later });
    const grandchild = await makeChild(child.key);
    expect(grandchild.expires_at).toBe(later);
    expect((await callExample(grandchild.key)).status).toBe(200);
    // An hour passes for the whole line; the gateway remembers the key and the statement does not.
    await surface.database.sql`UPDATE api_key SET expires_at = now() WHERE expires_at = ${later}`;
    await expectFreeProblem(await callExample(grandchild.key), 401, 'unauthorized');
    expect((await callExample(root)).status).toBe(200);
  });
});

describe('rotating a key', () => {
  type Rotated = { key: string; id: string; former_key_valid_until: string };
  const rotate = (owner: string, id: string, body: unknown = {}) =>
    one().fetch(`/v1/keys/${id}/rotate`, jsonBody(body, bearer(owner)));
  const rotated = async (owner: string, id: string, body: unknown = {}) => {
    const response = await rotate(owner, id, body);
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store');
    return (await response.json()) as Rotated;
  };

  test('gives it another secret with the same id, rights, caps and history, and ends the old one at once', async () => {
    const root = await one().mint(1_000);
    const child = await makeChild(root, { caps: { total_mcents: 250 } });
    await callExample(child.key);
    const { key, id } = await rotated(root, child.id);
    expect(id).toBe(child.id);
    await expectFreeProblem(await callExample(child.key), 401, 'unauthorized');
    expect((await callExample(key)).status).toBe(200);
    await expectFreeProblem(await callExample(key), 403, 'forbidden');
    expect(await useOf(root, child.id)).toMatchObject({ total_mcents: 200 });
    expect(await listKeys(key)).toMatchObject([{ id: child.id, caps: { total_mcents: 250 } }]);
    await expect
      .poll(async () => (await callExample(child.key, gateways[1])).status, { timeout: 10_000 })
      .toBe(401);
  });

  test('lets the old secret work for the overlap, on the same counters', async () => {
    const root = await one().mint(1_000);
    const child = await makeChild(root, { caps: { total_mcents: 250 } });
    const before = Date.now();
    const { key, former_key_valid_until: until } = await rotated(child.key, child.id, {
      overlap_seconds: 60,
    });
    expect(Math.abs(Date.parse(until) - before - 60_000)).toBeLessThan(20_000);
    expect((await callExample(child.key)).status).toBe(200);
    expect((await callExample(key)).status).toBe(200);
    await expectFreeProblem(await callExample(child.key), 403, 'forbidden');
    await surface.database.sql`UPDATE api_key_former SET valid_until = now() WHERE key_id = ${child.id}`;
    await expect.poll(async () => (await callExample(child.key)).status, { timeout: 10_000 }).toBe(401);
    await expectFreeProblem(await callExample(key), 403, 'forbidden');
  });

  test('once more without an overlap ends every earlier secret', async () => {
    const root = await one().mint(1_000);
    const child = await makeChild(root);
    const second = await rotated(root, child.id, { overlap_seconds: 3_600 });
    const third = await rotated(root, child.id);
    for (const key of [child.key, second.key])
      await expectFreeProblem(await callExample(key), 401, 'unauthorized');
    expect((await callExample(third.key)).status).toBe(200);
  });

  test('twenty times at once leaves exactly one secret that works', async () => {
    const root = await one().mint(5_000);
    const child = await makeChild(root);
    const made = await Promise.all(times(20, () => rotated(root, child.id)));
    const calls = await Promise.all(made.map(({ key }) => callExample(key)));
    expect(countByStatus(calls)).toEqual({ 200: 1, 401: 19 });
    expect((await callExample(child.key)).status).toBe(401);
  });

  test('works for the first key of an account, whose children go on', async () => {
    const root = await one().mint(1_000);
    const [{ id } = { id: '' }] = await listKeys(root);
    const child = await makeChild(root);
    const { key } = await rotated(root, id);
    await expectFreeProblem(await callExample(root), 401, 'unauthorized');
    for (const good of [key, child.key]) expect((await callExample(good)).status).toBe(200);
  });

  test('is refused for a revoked key, a longer overlap than a day, and an unknown key', async () => {
    const root = await one().mint(100);
    const child = await makeChild(root);
    for (const overlap_seconds of [-1, 86_401, 0.5, '5']) {
      await expectFreeProblem(await rotate(root, child.id, { overlap_seconds }), 400, 'malformed-request');
    }
    await expectProblem(await rotate(root, 'x'), 404, 'not-found');
    await one().fetch(`/v1/keys/${child.id}/revoke`, jsonBody({}, bearer(root)));
    await expectProblem(await rotate(root, child.id), 409, 'conflict');
  });
});

test('a key made at one gateway works at another at once', async () => {
  const third = await startTestGateway({ database: surface.database });
  try {
    const child = await makeChild(await one().mint(500), { caps: { total_mcents: 100 } });
    expect((await callExample(child.key, third)).status).toBe(200);
    expect((await callExample(child.key, third)).status).toBe(403);
  } finally {
    await third.close();
  }
});
