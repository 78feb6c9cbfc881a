import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { newKeyText } from '../../src/keys/index.ts';
import { createAgent, jsonBody, publishEcho } from '../e2e/fixtures.ts';
import { bearer, expectBalancedBooks, expectFreeProblem } from '../e2e/surface.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';

let database: TestDatabase;
let anvil: Anvil;
let gateway: TestGateway;

/** So slow to refill that no bucket does within a test, however slow the machine. */
const RATES = {
  ...{ RATE_KEY_PER_SECOND: '1', RATE_PAYER_PER_SECOND: '1', RATE_ADDRESS_PER_SECOND: '1' },
  ...{ RATE_WRONG_KEYS_PER_SECOND: '1', RATE_WRONG_KEYS_BURST: '10' },
  ...{ RATE_KEY_BURST: '40', RATE_PAYER_BURST: '60', RATE_ADDRESS_BURST: '100' },
};

beforeAll(async () => {
  [database, anvil] = await Promise.all([createTestDatabase({ poolMax: 4 }), startAnvil({ log: silentLog })]);
  gateway = await startTestGateway({ database, anvil, env: { ...RATES, TRUSTED_PROXIES: '127.0.0.1' } });
});
afterAll(async () => {
  await expectBalancedBooks(gateway);
  await gateway.close();
  await anvil.close();
  await database.close();
});

let lastAddress = 0;
/** Another caller each time, as the proxy in front of the gateway tells it. */
function someone(): { 'x-forwarded-for': string } {
  lastAddress += 1;
  return { 'x-forwarded-for': `198.51.100.${lastAddress}` };
}

type Headers = Record<string, string>;

/** Calls until it is refused; how many were served, and the refusal. */
async function exhaust(call: () => Promise<Response>): Promise<{ served: Response[]; refused: Response }> {
  const served: Response[] = [];
  for (;;) {
    const response = await call();
    if (response.status === 429) return { served, refused: response };
    served.push(response);
    if (served.length > 500) throw new Error('never refused');
  }
}

function expectLimit(response: Response, name: string, burst: number): void {
  expect(response.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
  expect(response.headers.get('ratelimit-policy')).toBe(`"${name}";q=${burst};w=${burst}`);
  expect(response.headers.get('ratelimit')).toMatch(new RegExp(`^"${name}";r=0;t=\\d+$`));
  expect(response.headers.get('access-control-expose-headers')).toMatch(
    /Retry-After.*RateLimit-Policy, RateLimit/,
  );
}

const example = (headers: Headers) => gateway.fetch('/v1/example', { headers });

test('a key that calls too fast is refused 429 before anything is charged, and says so in standard headers', async () => {
  const key = await gateway.mint(100_000);
  const { served, refused } = await exhaust(() => example({ ...bearer(key), ...someone() }));
  expectLimit(refused, 'key', 40);
  await expectFreeProblem(refused, 429, 'too-many-requests');
  expect(served.length).toBeGreaterThanOrEqual(40);
  expect(served.every(({ status }) => status === 200)).toBe(true);
  const last = (await served.at(-1)?.json()) as { balance_mcents: number };
  expect(last.balance_mcents).toBe(100_000 - 100 * served.length);
});

test('a caller with more than half of its bucket is told nothing, and then how much is left', async () => {
  const key = await gateway.mint(100_000);
  const told: (string | null)[] = [];
  for (let call = 0; call < 30; call += 1) {
    told.push((await example({ ...bearer(key), ...someone() })).headers.get('ratelimit'));
  }
  expect(told[0]).toBeNull();
  expect(told[15]).toBeNull();
  expect(told[29]).toMatch(/^"key";r=\d+;t=\d+$/);
});

test('the calls of an account are counted together, and the key of a refused one is not charged for it', async () => {
  const key = await gateway.mint(100_000, ['example', 'invoke']);
  const made = await gateway.fetch(
    '/v1/keys',
    jsonBody({ scopes: ['example'] }, { ...bearer(key), ...someone() }),
  );
  const child = (await made.json()) as { key?: string };
  if (child.key === undefined) throw new Error(JSON.stringify(child));
  const keys = [key, child.key];
  let turn = 0;
  const { served, refused } = await exhaust(() => {
    turn += 1;
    return example({ ...bearer(keys[turn % 2] ?? ''), ...someone() });
  });
  expectLimit(refused, 'payer', 60);
  expect(served.length).toBeGreaterThanOrEqual(58);
});

test('an address that sends too many requests is refused whatever it asks for, but for our health', async () => {
  const address = someone();
  const { served, refused } = await exhaust(() => gateway.fetch('/v1/pricing', { headers: address }));
  expectLimit(refused, 'address', 100);
  await expectFreeProblem(refused, 429, 'too-many-requests');
  expect(served.length).toBeGreaterThanOrEqual(100);
  for (const path of ['/v1/health', '/ready']) {
    expect((await gateway.fetch(path, { headers: address })).status).not.toBe(429);
  }
  expect((await gateway.fetch('/v1/pricing', { headers: someone() })).status).toBe(200);
});

test('all addresses of an IPv6 network are one caller', async () => {
  let host = 0;
  const { served } = await exhaust(() => {
    host += 1;
    return gateway.fetch('/v1/pricing', { headers: { 'x-forwarded-for': `2001:db8:7:7::${host}` } });
  });
  expect(served.length).toBeLessThan(200);
});

test('guessing keys is refused after a few, while a key that is good goes on from the same address', async () => {
  const address = someone();
  const good = await gateway.mint(100_000);
  const guess = () => example({ ...bearer(newKeyText()), ...address });
  expect((await guess()).status).toBe(401);
  expect((await example({ ...bearer(good), ...address })).status).toBe(200);
  const { served, refused } = await exhaust(guess);
  expectLimit(refused, 'wrong-keys', 10);
  expect(served.length).toBeGreaterThanOrEqual(9);
  expect(served.every(({ status }) => status === 401)).toBe(true);
  expect((await example({ ...bearer(good), ...address })).status).toBe(200);
  const unknownThere = await gateway.mint(100_000);
  expect((await example({ ...bearer(unknownThere), ...address })).status).toBe(429);
  expect((await example({ ...bearer(unknownThere), ...someone() })).status).toBe(200);
});

test('a client that goes on with a key that is none takes nothing from others at its address', async () => {
  const [shared, none] = [someone(), newKeyText()];
  for (let call = 0; call < 40; call += 1)
    expect((await example({ ...bearer(none), ...shared })).status).toBe(401);
  const fresh = await gateway.mint(100_000);
  expect((await example({ ...bearer(fresh), ...shared })).status).toBe(200);
});

test('a key that the gateway remembers is served from an address that somebody else has guessed from all along', async () => {
  const [shared, key] = [someone(), await gateway.mint(100_000)];
  const guess = () => example({ ...bearer(newKeyText()), ...shared });
  await exhaust(guess);
  expect((await example({ ...bearer(key), ...someone() })).status).toBe(200);
  expect((await example({ ...bearer(key), ...shared })).status).toBe(200);
});

test('over MCP a key that calls too fast is refused with when to come again, and pays nothing', async () => {
  const echo = await publishEcho(gateway);
  const key = await gateway.mint(100_000);
  const { key: ofKey } = gateway.deps.http.traffic;
  const { take } = ofKey;
  ofKey.take = () => -1;
  const refused = await gateway.fetch(
    echo.call.replace('/invoke/', '/mcp/'),
    jsonBody(
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'echo', arguments: { text: 'x' } } },
      { ...bearer(key), ...someone(), accept: 'application/json, text/event-stream' },
    ),
  );
  ofKey.take = take;
  expect(refused.headers.get('retry-after')).toMatch(/^[1-9]/);
  expect(await refused.text()).toContain('too-many-requests');
});

test('a payment that its payer was too fast with is not used up, and pays once there is room again', async () => {
  const agent = await createAgent(anvil);
  const signed = await agent.sign(await gateway.fetch('/v1/example', { headers: someone() }));
  const { payer } = gateway.deps.http.traffic;
  const { take } = payer;
  const asked: string[] = [];
  payer.take = (subject) => {
    asked.push(subject);
    return -1;
  };
  const refused = await gateway.fetch('/v1/example', { headers: { ...signed, ...someone() } });
  expectLimit(refused, 'payer', 60);
  await expectFreeProblem(refused, 429, 'too-many-requests');
  expect(asked.join().toLowerCase()).toContain(agent.account.address.toLowerCase());
  expect(await database.sql`SELECT 1 FROM payment_claim WHERE rail IS NOT NULL`).toEqual([]);
  payer.take = take;
  const paid = await gateway.fetch('/v1/example', { headers: { ...signed, ...someone() } });
  expect(paid.status).toBe(200);
  // Its repetition is no new payment: it is not even asked whether its payer has anything left.
  payer.take = () => -1;
  const again = await gateway.fetch('/v1/example', { headers: { ...signed, ...someone() } });
  payer.take = take;
  expect(again.status).not.toBe(429);
});
