import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { newReceiptKeyPem } from '../../src/provenance/index.ts';
import { createTestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { type Agent, createAgent, jsonBody, publishEcho, submission } from './fixtures.ts';
import {
  balanceOf,
  bearer,
  countByStatus,
  expectBalancedBooks,
  expectFreeProblem,
  expectProblem,
  readBody,
  type Surface,
  startSurface,
  times,
} from './surface.ts';

let surface: Surface;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  // One test here shows over a hundred wrong keys at once.
  surface = await startSurface({ RATE_WRONG_KEYS_BURST: '1000' });
  gateway = surface.gateway;
  echo = await publishEcho(gateway);
});
afterAll(() => surface.close());

const KEY = /^mcp_[0-9a-f]{48}$/;
const echoCall = { tool: 'echo', arguments: { text: 'x' } };

const mint = (body: unknown, headers: Record<string, string> = { 'x-admin-key': gateway.adminKey }) =>
  gateway.fetch('/v1/admin/mint', jsonBody(body, headers));
const signUp = (body: unknown, headers: Record<string, string> = {}) =>
  gateway.fetch('/v1/signup', jsonBody(body, headers));
const topUp = (key: string, amount: unknown, headers: Record<string, string> = {}) =>
  gateway.fetch('/v1/topup', jsonBody({ amount_mcents: amount }, { ...bearer(key), ...headers }));

/** The headers that pay what this request answers 402 to. */
async function pay(agent: Agent, ask: Promise<Response>): Promise<Record<string, string>> {
  const response = await ask;
  expect(response.status).toBe(402);
  return agent.sign(response);
}

/** The same payment without the quote that only who was challenged knows. */
function withoutQuote(headers: Record<string, string>): Record<string, string> {
  const payload = JSON.parse(Buffer.from(headers['PAYMENT-SIGNATURE'] ?? '', 'base64').toString());
  payload.extensions = undefined;
  return { 'PAYMENT-SIGNATURE': Buffer.from(JSON.stringify(payload)).toString('base64') };
}

function readPaymentHeaders({ headers }: Response) {
  return {
    receipt: JSON.parse(Buffer.from(headers.get('payment-receipt') ?? '', 'base64url').toString()),
    response: JSON.parse(Buffer.from(headers.get('payment-response') ?? '', 'base64').toString()),
  };
}

// Bad keys

test('an unknown, a malformed and a misspelled key are 401 everywhere, and never invite a payment', async () => {
  const good = await gateway.mint(1_000, ['all']);
  const bad: Record<string, string>[] = [
    { authorization: `Bearer mcp_${'0'.repeat(48)}` },
    { authorization: 'Bearer mcp_short' },
    { authorization: `Bearer ${good.toUpperCase()}` },
    { authorization: `Bearer ${good}0` },
    { authorization: `Bearer ${good} ${good}` },
    { authorization: `Bearer "${good}"` },
    { authorization: 'Bearer' },
    { authorization: good },
    { 'x-api-key': `mcp_${'f'.repeat(48)}` },
    { 'x-api-key': 'x' },
    { 'x-api-key': '' },
    { authorization: `Bearer mcp_${'0'.repeat(48)}`, 'x-api-key': good },
  ];
  for (const headers of bad) {
    const answers = await Promise.all([
      gateway.fetch('/v1/example', { headers }),
      gateway.fetch('/v1/example', jsonBody({}, headers)),
      gateway.fetch(echo.call, jsonBody(echoCall, headers)),
      gateway.fetch(echo.call, jsonBody({ tool: 'gratis', arguments: {} }, headers)),
      gateway.fetch('/v1/topup', jsonBody({ amount_mcents: 5_000 }, headers)),
      gateway.fetch('/v1/balance', { headers }),
      gateway.fetch('/v1/keys', { headers }),
      gateway.fetch('/v1/calls', { headers }),
      gateway.fetch(`/v1/keys/${echo.id}/revoke`, jsonBody({}, headers)),
      gateway.fetch('/mcp', jsonBody(submission('bad-key/echo'), headers)),
      gateway.fetch(`/mcp/${echo.id}`, { ...jsonBody(submission(echo.name), headers), method: 'PUT' }),
    ]);
    expect([headers, countByStatus(answers)]).toEqual([headers, { 401: answers.length }]);
    for (const answer of answers) await expectFreeProblem(answer, 401, 'unauthorized');
  }
  expect(await balanceOf(gateway, good)).toBe(1_000);
});

test('what needs a key is 401 without one', async () => {
  for (const path of ['/v1/balance', '/v1/keys', '/v1/calls']) {
    await expectFreeProblem(await gateway.fetch(path), 401, 'unauthorized');
  }
  for (const path of ['/v1/topup', `/v1/keys/${echo.id}/revoke`, '/mcp']) {
    await expectFreeProblem(await gateway.fetch(path, jsonBody({})), 401, 'unauthorized');
  }
  const put = { ...jsonBody(submission(echo.name)), method: 'PUT' };
  await expectFreeProblem(await gateway.fetch(`/mcp/${echo.id}`, put), 401, 'unauthorized');
});

test('a key does what its scopes say and nothing else, also together with a payment', async () => {
  const tries: Record<string, (headers: Record<string, string>) => Promise<Response>> = {
    example: (headers) => gateway.fetch('/v1/example', { headers }),
    invoke: (headers) => gateway.fetch(echo.call, jsonBody({ tool: 'gratis', arguments: {} }, headers)),
    publish: (headers) => gateway.fetch('/mcp', jsonBody({}, headers)),
  };
  for (const scope of ['example', 'read', 'invoke', 'publish', 'all']) {
    const key = await gateway.mint(1_000, [scope]);
    for (const [needed, attempt] of Object.entries(tries)) {
      const response = await attempt(bearer(key));
      const isAllowed = scope === needed || scope === 'all';
      if (!isAllowed) await expectFreeProblem(response, 403, 'forbidden');
      // An allowed publisher gets as far as its empty submission.
      else expect([scope, response.status]).toEqual([scope, needed === 'publish' ? 422 : 200]);
    }
    expect((await gateway.fetch('/v1/balance', { headers: bearer(key) })).status).toBe(200);
  }
  const agent = await createAgent(surface.anvil);
  const owned = await agent.owns();
  const payment = await pay(agent, gateway.fetch('/v1/example'));
  const reader = bearer(await gateway.mint(0, ['read']));
  const response = await gateway.fetch('/v1/example', { headers: { ...reader, ...payment } });
  await expectFreeProblem(response, 403, 'forbidden');
  expect(await agent.owns()).toBe(owned);
});

// The operator's mint

test('a minted key has the shape, the balance and the scopes that were asked for', async () => {
  const response = await mint({ balance_mcents: 10_000, scopes: ['example', 'read'] });
  expect(response.status).toBe(200);
  expect(response.headers.get('cache-control')).toBe('no-store');
  expect(response.headers.get('access-control-allow-origin')).toBeNull();
  const body = await readBody(response);
  expect(body).toEqual({
    ...{ ok: true, key: expect.stringMatching(KEY), key_shown_once: true },
    ...{ balance_mcents: 10_000, scopes: ['example', 'read'] },
  });
  expect(await balanceOf(gateway, body.key)).toBe(10_000);
  const publisher = await (await mint({ balance_mcents: 0, scopes: ['publish'] })).json();
  expect(publisher).toMatchObject({
    balance_mcents: 0,
    publisher_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
  });
});

test('a minted balance is a whole number from nothing to the ceiling, spelled as a number', async () => {
  const amounts = ['"10000"', '1.5', '-1', 'null', 'true', '[1]', '{}', '""', '1e999', '-1e999', '1e21'];
  for (const amount of [
    ...amounts,
    '100000001',
    '9007199254740993',
    'NaN',
    'Infinity',
    '0x10',
    '010',
    '+1',
  ]) {
    const body = `{"balance_mcents":${amount},"scopes":["read"]}`;
    const response = await gateway.fetch('/v1/admin/mint', {
      ...jsonBody({}, { 'x-admin-key': gateway.adminKey }),
      body,
    });
    await expectFreeProblem(response, 400, 'malformed-request');
  }
  await expectFreeProblem(await mint({ scopes: ['read'] }), 400, 'malformed-request');
  for (const amount of [0, 100_000_000]) {
    expect((await mint({ balance_mcents: amount, scopes: ['read'] })).status).toBe(200);
  }
});

test('a minted key needs scopes that exist', async () => {
  const wrong = [[], ['root'], ['read', 'root'], 'all', null, [1], [null], [['all']], ['ALL'], { 0: 'all' }];
  for (const scopes of wrong) {
    await expectFreeProblem(await mint({ balance_mcents: 1, scopes }), 400, 'malformed-request');
  }
  await expectFreeProblem(await mint({ balance_mcents: 1 }), 400, 'malformed-request');
});

test('the admin routes take the admin key and nothing like it', async () => {
  const { adminKey } = gateway;
  const wrong: Record<string, string>[] = [
    {},
    { 'x-admin-key': '' },
    { 'x-admin-key': adminKey.slice(0, -1) },
    { 'x-admin-key': `${adminKey}0` },
    { 'x-admin-key': adminKey.toUpperCase() },
    { 'x-admin-key': `${adminKey}, ${adminKey}` },
    { authorization: `Bearer ${adminKey}` },
    bearer(await gateway.mint(1, ['all'])),
  ];
  for (const headers of wrong) {
    await expectProblem(await mint({ balance_mcents: 1, scopes: ['read'] }, headers), 401, 'unauthorized');
    const check = await gateway.fetch('/v1/admin/ledger/check', { headers });
    await expectProblem(check, 401, 'unauthorized');
  }
});

// A key's own view

test('an owner sees its keys and revokes them; nobody sees, or revokes, anybody else’s', async () => {
  const [mine, other] = [await gateway.mint(500), await gateway.mint(500)];
  const listOf = async (key: string) => {
    const text = await (await gateway.fetch('/v1/keys', { headers: bearer(key) })).text();
    expect(text).not.toContain(key.slice(4));
    return JSON.parse(text).keys;
  };
  const [[own], others] = [await listOf(mine), await listOf(other)];
  expect(await listOf(mine)).toEqual([
    {
      ...{ id: expect.stringMatching(/^[0-9a-f-]{36}$/), label: null, scopes: ['example', 'invoke'] },
      ...{ parent_id: null, tools: null },
      ...{ created_at: expect.any(String), expires_at: null, revoked_at: null },
    },
  ]);
  const revoke = (key: string, id: string) =>
    gateway.fetch(`/v1/keys/${id}/revoke`, jsonBody({}, bearer(key)));
  for (const id of [others[0].id, '00000000-0000-4000-8000-000000000000', 'x', '%00', own.id.toUpperCase()]) {
    await expectProblem(await revoke(mine, id), 404, 'not-found');
  }
  expect(await balanceOf(gateway, other)).toBe(500);
  expect(await (await revoke(mine, own.id)).json()).toEqual({ ok: true, id: own.id, revoked: true });
  const call = await gateway.fetch('/v1/example', { headers: bearer(mine) });
  await expectFreeProblem(call, 401, 'unauthorized');
  await expectFreeProblem(await revoke(mine, own.id), 401, 'unauthorized');
  expect(await balanceOf(gateway, other)).toBe(500);
});

test('a key revoked at one gateway buys nothing at another', async () => {
  const second = await surface.startAnother({ env: {} });
  const asks: ((key: string) => Promise<Response>)[] = [
    (key) => second.fetch('/v1/example', { headers: bearer(key) }),
    (key) => second.fetch(echo.call, jsonBody(echoCall, bearer(key))),
    (key) => second.fetch('/v1/example', { headers: { ...bearer(key), 'idempotency-key': 'once' } }),
    (key) => second.fetch(echo.call, jsonBody(echoCall, { ...bearer(key), 'idempotency-key': 'once' })),
  ];
  for (const ask of asks) {
    const key = await gateway.mint(1_000);
    // The second gateway has just seen the key and need not ask for it again.
    expect(await balanceOf(second, key)).toBe(1_000);
    const { keys } = await readBody(await gateway.fetch('/v1/keys', { headers: bearer(key) }));
    const [{ id }] = keys;
    expect((await gateway.fetch(`/v1/keys/${id}/revoke`, jsonBody({}, bearer(key)))).status).toBe(200);
    await expectFreeProblem(await ask(key), 401, 'unauthorized');
  }
});

// Signup

test('a signup without payment is told what it costs, with every configured method', async () => {
  const body = await expectFreeProblem(await signUp({}), 402, 'payment-required');
  expect(body).toMatchObject({
    amount_mcents: 10_000,
    x402Version: 1,
    accepts: [{ scheme: 'exact', maxAmountRequired: '100000', network: 'base-sepolia' }],
  });
});

test('the stock client signs up as an agent and gets a key that works', async () => {
  const agent = await createAgent(surface.anvil);
  const owned = await agent.owns();
  const response = await agent.fetch(`${gateway.url}/v1/signup`, jsonBody({ label: 'my agent' }));
  const body = await readBody(response);
  expect(response.status, JSON.stringify(body)).toBe(200);
  expect(body).toEqual({
    ...{ ok: true, key: expect.stringMatching(KEY), key_shown_once: true },
    ...{ balance_mcents: 10_000, scopes: ['example', 'invoke'] },
  });
  expect(owned - (await agent.owns())).toBe(100_000n);
  expect(response.headers.get('cache-control')).toBe('no-store');
  const { receipt, response: settled } = readPaymentHeaders(response);
  expect(receipt).toMatchObject({ method: 'evm', status: 'success' });
  expect(Math.abs(Date.parse(receipt.timestamp) - Date.now())).toBeLessThan(60_000);
  expect(settled).toMatchObject({ success: true, transaction: expect.stringMatching(/^0x[0-9a-f]{64}$/) });
  expect(receipt.reference).toContain(settled.transaction);
  const example = await gateway.fetch('/v1/example', { headers: bearer(body.key) });
  expect(await example.json()).toMatchObject({ ok: true, charged_mcents: 100 });
  const keys = await gateway.fetch('/v1/keys', { headers: bearer(body.key) });
  expect(await keys.json()).toMatchObject({ keys: [{ label: 'my agent', scopes: ['example', 'invoke'] }] });
});

test('the stock client signs up as a publisher and publishes without anybody’s help', async () => {
  const agent = await createAgent(surface.anvil);
  const response = await agent.fetch(`${gateway.url}/v1/signup`, jsonBody({ role: 'publisher' }));
  const body = await readBody(response);
  expect(body).toEqual({
    ...{ ok: true, key: expect.stringMatching(KEY), key_shown_once: true, balance_mcents: 10_000 },
    ...{ scopes: ['example', 'invoke', 'publish'], publisher_id: expect.stringMatching(/^[0-9a-f-]{36}$/) },
  });
  const published = await gateway.fetch('/mcp', jsonBody(submission('self-made/echo'), bearer(body.key)));
  expect(published.status).toBe(201);
  const call = await gateway.fetch(
    '/invoke/self-made%2Fecho',
    jsonBody(echoCall, bearer(await gateway.mint(250))),
  );
  expect(call.status).toBe(200);
  const account = await gateway.fetch('/v1/balance', { headers: bearer(body.key) });
  expect(await account.json()).toEqual({
    ...{ ok: true, balance_mcents: 10_000, tier: 'free', publisher_id: body.publisher_id },
    // 80 % of 250; what an operator's promotion paid is never withdrawn.
    ...{ earned_mcents: 200, withdrawable_mcents: 0 },
  });
});

test('the same signup payment again gives the same key and pays nothing', async () => {
  const agent = await createAgent(surface.anvil);
  const headers = await pay(agent, signUp({}));
  const first = await signUp({}, headers);
  const { key } = await readBody(first);
  expect(key).toMatch(KEY);
  const owned = await agent.owns();
  const again = await signUp({}, headers);
  expect(again.status).toBe(200);
  expect(await again.json()).toMatchObject({ key, balance_mcents: 10_000 });
  expect(again.headers.get('payment-receipt')).toBe(first.headers.get('payment-receipt'));
  expect(await agent.owns()).toBe(owned);
});

test('a key is not given on an authorization alone, nor for another request', async () => {
  const agent = await createAgent(surface.anvil);
  const headers = await pay(agent, signUp({}));
  const { key } = await readBody(await signUp({}, headers));
  const stolen = await expectProblem(await signUp({}, withoutQuote(headers)), 409, 'credential-used');
  expect(JSON.stringify(stolen)).not.toContain(key);
  for (const body of [{ role: 'publisher' }, { label: 'other' }]) {
    await expectFreeProblem(await signUp(body, headers), 409, 'credential-used');
  }
  const example = await gateway.fetch('/v1/example', { headers });
  await expectFreeProblem(example, 409, 'credential-used');
});

test('one signup payment sent 20 times at once buys one key', async () => {
  const agent = await createAgent(surface.anvil);
  const headers = await pay(agent, signUp({}));
  const owned = await agent.owns();
  const responses = await Promise.all(times(20, () => signUp({}, headers)));
  const counts = countByStatus(responses);
  expect((counts[200] ?? 0) + (counts[409] ?? 0)).toBe(20);
  const given = responses.filter(({ status }) => status === 200);
  const keys = new Set(await Promise.all(given.map(async (response) => (await readBody(response)).key)));
  expect(keys.size).toBe(1);
  expect(owned - (await agent.owns())).toBe(100_000n);
  expect(await balanceOf(gateway, String([...keys][0]))).toBe(10_000);
});

test('a payer who does not own what a key costs gets none, and pays nothing', async () => {
  const agent = await createAgent(surface.anvil, 0.05);
  const headers = await pay(agent, signUp({}));
  const body = await expectFreeProblem(await signUp({}, headers), 402, 'payment-required');
  expect(JSON.stringify(body)).not.toMatch(/mcp_/);
  expect(await agent.owns()).toBe(50_000n);
});

// Top-up

test('a top-up is within its bounds and spelled as a number', async () => {
  const key = await gateway.mint(0);
  for (const amount of [0, -1, 999, 100_000_001, 1e21, 5_000.5, '5000', null, [5_000]]) {
    await expectFreeProblem(await topUp(key, amount), 400, 'malformed-request');
  }
  for (const amount of [1_000, 100_000_000]) {
    const body = await expectFreeProblem(await topUp(key, amount), 402, 'payment-required');
    expect(body).toMatchObject({ amount_mcents: amount, accepts: [{ maxAmountRequired: `${amount}0` }] });
  }
});

test('a top-up credits exactly what was paid, to the key it names', async () => {
  const agent = await createAgent(surface.anvil);
  const [key, owned] = [await gateway.mint(77), await agent.owns()];
  const request = jsonBody({ amount_mcents: 12_345 }, bearer(key));
  const response = await agent.fetch(`${gateway.url}/v1/topup`, request);
  expect(await readBody(response)).toEqual({ ok: true, credited_mcents: 12_345, balance_mcents: 12_422 });
  expect(owned - (await agent.owns())).toBe(123_450n);
  const { receipt, response: settled } = readPaymentHeaders(response);
  expect(receipt).toMatchObject({ method: 'evm', status: 'success' });
  expect(settled).toMatchObject({ success: true });
  expect(await balanceOf(gateway, key)).toBe(12_422);
});

test('the same top-up payment again credits nothing more', async () => {
  const agent = await createAgent(surface.anvil);
  const key = await gateway.mint(0);
  const headers = await pay(agent, topUp(key, 2_000));
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const response = await topUp(key, 2_000, headers);
    expect(await readBody(response)).toMatchObject({
      ok: true,
      credited_mcents: 2_000,
      balance_mcents: 2_000,
    });
  }
  const other = await gateway.mint(0);
  await expectFreeProblem(await topUp(key, 3_000, headers), 409, 'credential-used');
  await expectFreeProblem(await topUp(other, 2_000, headers), 409, 'credential-used');
  expect([await balanceOf(gateway, key), await balanceOf(gateway, other)]).toEqual([2_000, 0]);
});

test('one top-up payment sent 20 times at once credits once', async () => {
  const agent = await createAgent(surface.anvil);
  const [key, owned] = [await gateway.mint(0), await agent.owns()];
  const headers = await pay(agent, topUp(key, 3_000));
  const counts = countByStatus(await Promise.all(times(20, () => topUp(key, 3_000, headers))));
  expect((counts[200] ?? 0) + (counts[409] ?? 0)).toBe(20);
  expect(counts[200]).toBeGreaterThanOrEqual(1);
  expect(await balanceOf(gateway, key)).toBe(3_000);
  expect(owned - (await agent.owns())).toBe(30_000n);
});

test('a top-up challenge answered with another key is refused and stays unused', async () => {
  const agent = await createAgent(surface.anvil);
  const [mine, other] = [await gateway.mint(0), await gateway.mint(0)];
  const headers = await pay(agent, topUp(mine, 1_000));
  await expectFreeProblem(await topUp(other, 1_000, headers), 402, 'payment-required');
  expect((await topUp(mine, 1_000, headers)).status).toBe(200);
  expect([await balanceOf(gateway, mine), await balanceOf(gateway, other)]).toEqual([1_000, 0]);
});

// Windows and configurations

/** The hourly windows start anew with the hour; a test must not stand across it. */
async function stayWithinTheHour(): Promise<void> {
  const left = 3_600_000 - (Date.now() % 3_600_000);
  if (left < 10_000) await new Promise((done) => setTimeout(done, left));
}

test('of 20 mints at once in a window of 10 exactly 10 are made, and refused ones take nothing of it', async () => {
  const database = await createTestDatabase({ poolMax: 2 });
  const small = await startTestGateway({ database, env: { MINTS_PER_HOUR: '10' } });
  onTestFinished(async () => {
    await small.close();
    await database.close();
  });
  await stayWithinTheHour();
  const ask = (body: unknown, key = small.adminKey) =>
    small.fetch('/v1/admin/mint', jsonBody(body, { 'x-admin-key': key }));
  for (let attempt = 0; attempt < 5; attempt += 1) {
    expect((await ask({ balance_mcents: -1, scopes: ['read'] })).status).toBe(400);
    expect((await ask({ balance_mcents: 1, scopes: ['read'] }, 'wrong')).status).toBe(401);
  }
  const responses = await Promise.all(times(20, () => ask({ balance_mcents: 1, scopes: ['read'] })));
  expect(countByStatus(responses)).toEqual({ 200: 10, 429: 10 });
  for (const response of responses.filter(({ status }) => status === 429)) {
    await expectFreeProblem(response, 429, 'too-many-requests');
    const seconds = Number(response.headers.get('retry-after'));
    expect(seconds >= 1 && seconds <= 3_600).toBe(true);
  }
  await expectBalancedBooks(small);
});

test('the window of signups counts keys that were sold, and never keeps a paid key from its payer', async () => {
  const narrow = await startSurface({ SIGNUPS_PER_HOUR: '2' });
  onTestFinished(narrow.close);
  await stayWithinTheHour();
  const ask = (headers: Record<string, string> = {}) =>
    narrow.gateway.fetch('/v1/signup', jsonBody({}, headers));
  const [poor, agent] = [await createAgent(narrow.anvil, 0.05), await createAgent(narrow.anvil)];
  for (let attempt = 0; attempt < 3; attempt += 1) {
    expect((await ask(await pay(poor, ask()))).status).toBe(402);
  }
  const payments = [await pay(agent, ask()), await pay(agent, ask()), await pay(agent, ask())];
  const keys: string[] = [];
  for (const headers of payments.slice(0, 2)) keys.push((await readBody(await ask(headers))).key);
  expect(new Set(keys).size).toBe(2);
  const owned = await agent.owns();
  await expectFreeProblem(await ask(payments[2]), 429, 'too-many-requests');
  expect(await agent.owns()).toBe(owned);
  for (const [index, headers] of payments.slice(0, 2).entries()) {
    expect(await (await ask(headers)).json()).toMatchObject({ key: keys[index] });
  }
});

test('without an admin key a production gateway answers 503 on its admin routes and serves the rest', async () => {
  const production = await surface.startAnother({
    env: {
      ...{ NODE_ENV: 'production', ADMIN_KEY: '', PUBLIC_URL: 'https://tools.example' },
      RECEIPT_KEY: newReceiptKeyPem(),
      LOG_KEY: newReceiptKeyPem(),
    },
  });
  for (const key of ['', gateway.adminKey, 'undefined']) {
    const headers = { 'x-admin-key': key };
    const minted = await production.fetch(
      '/v1/admin/mint',
      jsonBody({ balance_mcents: 1, scopes: ['all'] }, headers),
    );
    const { detail } = await expectProblem(minted, 503, 'unavailable');
    // What does not know when says something: a client that waits as it is told must be told.
    expect(Number(minted.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(detail).toContain('ADMIN_KEY');
    const check = await production.fetch('/v1/admin/ledger/check', { headers });
    await expectProblem(check, 503, 'unavailable');
  }
  expect((await production.fetch('/v1/health')).status).toBe(200);
  const key = await gateway.mint(100);
  expect((await production.fetch('/v1/example', { headers: bearer(key) })).status).toBe(200);
});

test('without a rail everything that needs a payment is 501 and says so, and keys go on working', async () => {
  const bare = await surface.startAnother({ env: {} });
  const [key, empty] = [await gateway.mint(100), await gateway.mint(0)];
  const answers = [
    await bare.fetch('/v1/signup', jsonBody({})),
    await bare.fetch('/v1/signup', jsonBody({ role: 'publisher' })),
    await bare.fetch('/v1/topup', jsonBody({ amount_mcents: 5_000 }, bearer(key))),
    await bare.fetch('/v1/example'),
    await bare.fetch('/v1/example', { headers: bearer(empty) }),
    await bare.fetch(echo.call, jsonBody(echoCall)),
  ];
  for (const answer of answers) {
    const { detail } = await expectFreeProblem(answer, 501, 'no-rail');
    expect(detail).toMatch(/no payment rail/);
  }
  expect(await (await bare.fetch('/v1/pricing')).json()).toMatchObject({ rails: [] });
  expect((await bare.fetch('/v1/example', { headers: bearer(key) })).status).toBe(200);
});
