import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256Hex } from '../../src/core/bytes.ts';
import { canonicalJson } from '../../src/core/canonical-json.ts';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import {
  type Agent,
  createAgent,
  drain,
  jsonBody,
  publishEcho,
  readAnswer,
  readBooks,
  tokenBalance,
} from './fixtures.ts';

let database: TestDatabase;
let anvil: Anvil;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  [database, anvil] = await Promise.all([createTestDatabase({ poolMax: 4 }), startAnvil({ log: silentLog })]);
  gateway = await startTestGateway({ database, anvil });
  echo = await publishEcho(gateway);
});
afterAll(async () => {
  const books = await readBooks(gateway);
  expect(books.discrepancies).toEqual([]);
  await gateway.close();
  await anvil.close();
  await database.close();
});

const echoCall = (text: string) => jsonBody({ tool: 'echo', arguments: { text } });

/** The first 402 of a call, and the headers that pay it. */
async function challenge(agent: Agent, call: RequestInit) {
  const response = await gateway.fetch(echo.call, call);
  expect(response.status).toBe(402);
  return agent.sign(response);
}

const withHeaders = (call: RequestInit, headers: Record<string, string>): RequestInit => ({
  ...call,
  headers: { ...(call.headers as Record<string, string>), ...headers },
});

test('the unmodified stock client pays for one call and gets one result with a receipt it can verify', async () => {
  const agent = await createAgent(anvil);
  const [before, payTo] = [await agent.owns(), await tokenBalance(anvil, anvil.payTo)];
  const response = await agent.fetch(gateway.url + echo.call, echoCall('hello'));
  const body = await readAnswer(response);
  expect(response.status, JSON.stringify(body)).toBe(200);
  expect(body).toMatchObject({
    ok: true,
    charged_mcents: 250,
    result: { structuredContent: { text: 'hello' } },
  });
  expect(response.headers.get('payment-response')).toBeTruthy();
  expect(response.headers.get('payment-receipt')).toBeTruthy();
  expect(before - (await agent.owns())).toBe(2_500n);
  expect((await tokenBalance(anvil, anvil.payTo)) - payTo).toBe(2_500n);

  const jwks = createLocalJWKSet(
    (await (await gateway.fetch('/.well-known/jwks.json')).json()) as JSONWebKeySet,
  );
  const { payload } = await compactVerify(body.receipt, jwks);
  const receipt = JSON.parse(new TextDecoder().decode(payload));
  const request = { server: echo.name, tool: 'echo', arguments: { text: 'hello' } };
  expect(receipt).toMatchObject({
    ...{ jti: body.receipt_id, server: echo.name, tool: 'echo', version: '1.0.0', code: echo.body.code_hash },
    ...{
      price_mcents: '250',
      fee_mcents: '50',
      rail: 'evm',
      req: `sha256:${sha256Hex(canonicalJson(request))}`,
    },
    ...{ res: `sha256:${sha256Hex(canonicalJson(body.result))}` },
    payer: `eip155:${anvil.chainId}:${agent.account.address.toLowerCase()}`,
  });
});

test('the same credential again gets the same answer and pays nothing', async () => {
  const agent = await createAgent(anvil);
  const call = jsonBody({ tool: 'random', arguments: {} });
  const headers = await challenge(agent, call);
  const first = await readAnswer(await gateway.fetch(echo.call, withHeaders(call, headers)));
  const owned = await agent.owns();
  const again = await gateway.fetch(echo.call, withHeaders(call, headers));
  expect(again.status).toBe(200);
  expect(await again.json()).toEqual(first);
  expect(await agent.owns()).toBe(owned);
});

test('one credential sent 20 times at once runs once', async () => {
  const agent = await createAgent(anvil);
  const call = jsonBody({ tool: 'random', arguments: {} });
  const headers = await challenge(agent, call);
  const before = await agent.owns();
  const responses = await Promise.all(
    Array.from({ length: 20 }, () => gateway.fetch(echo.call, withHeaders(call, headers))),
  );
  const delivered = responses.filter(({ status }) => status === 200);
  expect(delivered.length).toBeGreaterThanOrEqual(1);
  expect(responses.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
  const texts = new Set(
    await Promise.all(delivered.map(async (response) => JSON.stringify((await readAnswer(response)).result))),
  );
  expect(texts.size).toBe(1);
  expect(before - (await agent.owns())).toBe(500n);
  const rows =
    await database.sql`SELECT id FROM payment_claim WHERE payer LIKE ${`%${agent.account.address.toLowerCase()}`}`;
  expect(rows).toHaveLength(1);
});

test('ten different payments of one payer at once run ten times', async () => {
  const agent = await createAgent(anvil);
  const calls = Array.from({ length: 10 }, (_, index) => echoCall(`call ${index}`));
  const before = await agent.owns();
  const responses = await Promise.all(calls.map((call) => agent.fetch(gateway.url + echo.call, call)));
  expect(responses.map(({ status }) => status)).toEqual(Array(10).fill(200));
  expect(before - (await agent.owns())).toBe(25_000n);
});

test('a credential used with another body or another tool is 409 and charges nothing', async () => {
  const agent = await createAgent(anvil);
  const headers = await challenge(agent, echoCall('one'));
  expect((await gateway.fetch(echo.call, withHeaders(echoCall('one'), headers))).status).toBe(200);
  const owned = await agent.owns();
  for (const other of [echoCall('two'), jsonBody({ tool: 'random', arguments: {} })]) {
    const response = await gateway.fetch(echo.call, withHeaders(other, headers));
    expect(response.status).toBe(409);
    expect(response.headers.get('payment-required')).toBeNull();
    expect((await readAnswer(response)).type).toMatch(/credential-used$/);
  }
  expect(await agent.owns()).toBe(owned);
});

test('an unused credential of another request is refused with a fresh challenge and stays unused', async () => {
  const agent = await createAgent(anvil);
  const headers = await challenge(agent, echoCall('mine'));
  const response = await gateway.fetch(echo.call, withHeaders(echoCall('other'), headers));
  expect(response.status).toBe(402);
  expect(response.headers.get('payment-required')).toBeTruthy();
  expect((await gateway.fetch(echo.call, withHeaders(echoCall('mine'), headers))).status).toBe(200);
});

test('a stored answer is not given on the authorization alone, which anyone can read on-chain', async () => {
  const agent = await createAgent(anvil);
  const headers = await challenge(agent, echoCall('secret'));
  expect((await gateway.fetch(echo.call, withHeaders(echoCall('secret'), headers))).status).toBe(200);
  const payload = JSON.parse(Buffer.from(headers['PAYMENT-SIGNATURE'] ?? '', 'base64').toString());
  payload.extensions = undefined;
  const stolen = { 'PAYMENT-SIGNATURE': Buffer.from(JSON.stringify(payload)).toString('base64') };
  const response = await gateway.fetch(echo.call, withHeaders(echoCall('secret'), stolen));
  expect(response.status).toBe(409);
  const body = await readAnswer(response);
  expect(body.receipt_id).toBeTruthy();
  expect(JSON.stringify(body)).not.toContain('"secret"');
});

test('an expired, a tampered and a malformed challenge are answered with a fresh one', async () => {
  const agent = await createAgent(anvil);
  const headers = await challenge(agent, echoCall('x'));
  const payload = JSON.parse(Buffer.from(headers['PAYMENT-SIGNATURE'] ?? '', 'base64').toString());
  const token: string = payload.extensions['millicent-quote'].info.quote;
  payload.extensions['millicent-quote'].info.quote =
    token.slice(0, -4) + (token.endsWith('AAAA') ? 'BBBB' : 'AAAA');
  const tampered = Buffer.from(JSON.stringify(payload)).toString('base64');
  for (const signature of [tampered, 'not base64 json', '']) {
    const response = await gateway.fetch(
      echo.call,
      withHeaders(echoCall('x'), { 'PAYMENT-SIGNATURE': signature }),
    );
    expect(response.status).toBe(402);
    expect(response.headers.get('payment-required')).toBeTruthy();
    expect(response.headers.get('cache-control')).toBe('no-store');
  }
});

test('a tool that fails, breaks its contract, crashes or sleeps past its limit costs its caller nothing', async () => {
  const agent = await createAgent(anvil);
  const before = await agent.owns();
  for (const [tool, status] of [
    ['fail', 502],
    ['liar', 502],
    ['crash', 502],
    ['sleep', 504],
  ] as const) {
    const call = jsonBody({ tool, arguments: {} });
    const headers = await challenge(agent, call);
    const response = await gateway.fetch(echo.call, withHeaders(call, headers));
    const body = await readAnswer(response);
    expect([tool, response.status]).toEqual([tool, status]);
    expect(body).toMatchObject({ ok: false, note: 'no charge applied' });
    expect(Buffer.byteLength(body.detail)).toBeLessThanOrEqual(512);
    // The same credential is told the same, and buys no second run.
    const again = await gateway.fetch(echo.call, withHeaders(call, headers));
    expect(again.status).toBe(status);
  }
  expect(await agent.owns()).toBe(before);
});

test('a payer who drains its wallet while the tool runs gets no result', async () => {
  const agent = await createAgent(anvil, 1);
  const call = jsonBody({ tool: 'sleep', arguments: { seconds: 2.5 } });
  const headers = await challenge(agent, call);
  const payer = `eip155:${anvil.chainId}:${agent.account.address.toLowerCase()}`;
  const running = gateway.fetch(echo.call, withHeaders(call, headers));
  await waitUntil(
    async () => (await database.sql`SELECT 1 FROM payment_claim WHERE payer = ${payer}`).length > 0,
  );
  await drain(anvil, agent);
  const response = await running;
  expect(response.status).toBe(402);
  expect(JSON.stringify(await readAnswer(response))).not.toContain('awake');
  const [{ count } = { count: 0n }] = await database.sql<{ count: bigint }[]>`
    SELECT count(*) AS count FROM ledger_exposure WHERE is_loss = 1 AND payer LIKE ${`%${agent.account.address.toLowerCase()}`}`;
  expect(count).toBe(1n);
});

test('a payer beyond its unproven limit pays before the run, and a failure then becomes credit on a refund key', async () => {
  const agent = await createAgent(anvil);
  const dear = await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents: 50_000 } });
  const owned = await agent.owns();
  const response = await agent.fetch(gateway.url + dear.call, jsonBody({ tool: 'fail', arguments: {} }));
  const body = await readAnswer(response);
  expect(response.status).toBe(502);
  expect(owned - (await agent.owns())).toBe(500_000n);
  expect(body).toMatchObject({ refund_mcents: 50_000 });
  const balance = await gateway.fetch('/v1/balance', {
    headers: { authorization: `Bearer ${body.refund_key}` },
  });
  expect(await balance.json()).toMatchObject({ balance_mcents: 50_000 });
  const retry = await gateway.fetch(dear.call, {
    ...jsonBody({ tool: 'echo', arguments: { text: 'now' } }, { authorization: `Bearer ${body.refund_key}` }),
  });
  expect(await retry.json()).toMatchObject({ ok: true, charged_mcents: 50_000 });
});

test('the price in the challenge holds although the price has changed since', async () => {
  const agent = await createAgent(anvil);
  const server = await publishEcho(gateway);
  const call = echoCall('cheap');
  const first = await gateway.fetch(server.call, call);
  const headers = await agent.sign(first);
  const { files, ...rest } = (await import('./fixtures.ts')).submission(server.name, { version: '1.1.0' });
  const raised = { ...rest, files, pricing: { model: 'per_call', amount_mcents: 900 } };
  const put = await gateway.fetch(`/mcp/${server.id}`, {
    ...jsonBody(raised, { authorization: `Bearer ${server.key}` }),
    method: 'PUT',
  });
  expect(put.status, await put.text()).toBe(201);
  const response = await gateway.fetch(server.call, withHeaders(call, headers));
  expect(await readAnswer(response)).toMatchObject({ ok: true, charged_mcents: 250 });
});
