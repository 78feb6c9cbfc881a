import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { type Agent, createAgent, jsonBody, publishEcho, submission } from './fixtures.ts';
import {
  balanceOf,
  bearer,
  expectBalancedBooks,
  expectFreeProblem,
  expectProblem,
  readBody,
  type Surface,
  startSurface,
} from './surface.ts';

let surface: Surface;
/** Has a sandbox, and so could publish what is listed. */
let whole: TestGateway;
/** The same marketplace from a machine that can isolate nothing. */
let bare: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;
let agent: Agent;

beforeAll(async () => {
  surface = await startSurface();
  whole = surface.gateway;
  bare = await surface.startAnother({ anvil: surface.anvil, env: { SANDBOX: 'none' } });
  echo = await publishEcho(whole);
  agent = await createAgent(surface.anvil);
});
afterAll(() => surface.close());

const REASON = /SANDBOX=none/;
const random = { tool: 'random', arguments: {} };

test('a hosted call is 503 and names the reason before any payment talk, whoever asks and however it pays', async () => {
  const key = await whole.mint(1_000);
  const payment = await agent.sign(await whole.fetch(echo.call, jsonBody(random)));
  const owned = await agent.owns();
  for (const headers of [{}, bearer(key), { ...bearer(key), 'idempotency-key': 'x' }, payment]) {
    for (const body of [random, { tool: 'gratis', arguments: {} }, { ...random, version: '1.0.0' }]) {
      const response = await bare.fetch(echo.call, jsonBody(body, headers));
      const { detail } = await expectFreeProblem(response, 503, 'unavailable');
      expect(detail).toMatch(REASON);
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    }
  }
  expect(await balanceOf(bare, key)).toBe(1_000);
  expect(await agent.owns()).toBe(owned);
  // Nothing was used up: where there is a sandbox, the same payment buys its call.
  expect((await whole.fetch(echo.call, jsonBody(random, payment))).status).toBe(200);
});

test('what is wrong with a call is told also where it could not run', async () => {
  const ask = (path: string, body: unknown) => bare.fetch(path, jsonBody(body));
  await expectFreeProblem(await ask(echo.call, { tool: 'echo', arguments: {} }), 422, 'invalid-arguments');
  await expectFreeProblem(await ask(echo.call, { tool: 'nothing' }), 422, 'invalid-arguments');
  await expectProblem(await ask('/invoke/nobody%2Fnothing', random), 404, 'not-found');
});

test('publishing is 503 and names the reason, and nothing is listed or logged', async () => {
  const publisher = await bare.mint(0, ['publish']);
  const posted = await bare.fetch('/mcp', jsonBody(submission('no-sandbox/echo'), bearer(publisher)));
  expect((await expectProblem(posted, 503, 'unavailable')).detail).toMatch(REASON);
  const next = jsonBody(submission(echo.name, { version: '2.0.0' }), bearer(echo.key));
  const put = await bare.fetch(`/mcp/${echo.id}`, { ...next, method: 'PUT' });
  expect((await expectProblem(put, 503, 'unavailable')).detail).toMatch(REASON);
  await expectProblem(await bare.fetch('/mcp/no-sandbox%2Fecho'), 404, 'not-found');
  expect(await (await bare.fetch(`/mcp/${echo.id}`)).json()).toMatchObject({ version: '1.0.0' });
});

test('everything else works: keys, the example by key and by payment, the registry, receipts', async () => {
  const ready = await bare.fetch('/ready');
  expect(ready.status).toBe(200);
  expect(await ready.json()).toMatchObject({
    checks: { database: 'ok', sandbox: expect.stringMatching(REASON) },
  });
  for (const path of ['/v1/health', '/v1/pricing', '/mcp', `/mcp/${echo.id}`, '/.well-known/jwks.json']) {
    expect([path, (await bare.fetch(path)).status]).toEqual([path, 200]);
  }
  const { key } = await readBody(await agent.fetch(`${bare.url}/v1/signup`, jsonBody({ role: 'publisher' })));
  const topUp = jsonBody({ amount_mcents: 1_000 }, bearer(key));
  const filled = await readBody(await agent.fetch(`${bare.url}/v1/topup`, topUp));
  expect(filled.balance_mcents).toBe(11_000);
  const byKey = await readBody(await bare.fetch('/v1/example', { headers: bearer(key) }));
  expect(byKey).toMatchObject({ ok: true, charged_mcents: 100, balance_mcents: 10_900 });
  const byPayment = await readBody(await agent.fetch(`${bare.url}/v1/example`));
  expect(byPayment).toMatchObject({ ok: true, charged_mcents: 100 });
  for (const id of [byKey.receipt_id, byPayment.receipt_id]) {
    expect((await bare.fetch(`/receipts/${id}`)).status).toBe(200);
  }
  expect((await bare.fetch('/v1/calls', { headers: bearer(key) })).status).toBe(200);
  await expectBalancedBooks(bare);
});
