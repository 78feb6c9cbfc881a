import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { millicents } from '../../src/core/money.ts';
import { Problem } from '../../src/core/problem.ts';
import { withTransaction } from '../../src/db/index.ts';
import { assessRisk, DEFAULT_RISK_LIMITS, openExposure } from '../../src/ledger/index.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody, publishEcho, readAnswer, readBooks } from './fixtures.ts';

let database: TestDatabase;
let anvil: Anvil;
let gateway: TestGateway;
/** Makes the next run fail for want of a place. */
let isFull = false;

beforeAll(async () => {
  [database, anvil] = await Promise.all([createTestDatabase({ poolMax: 4 }), startAnvil({ log: silentLog })]);
  gateway = await startTestGateway({
    ...{ database, anvil, env: { SANDBOX_CONCURRENCY: '4' } },
    change(deps) {
      const { run } = deps.http.execution;
      deps.http.execution.run = (input, signal) => {
        if (!isFull) return run(input, signal);
        return Promise.reject(
          new Problem('unavailable', { detail: 'full', retryAfterSeconds: 1, isUncharged: true }),
        );
      };
    },
  });
});
afterAll(async () => {
  expect((await readBooks(gateway)).discrepancies).toEqual([]);
  await gateway.close();
  await anvil.close();
  await database.close();
});

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

test('HEAD buys nothing', async () => {
  const key = await gateway.mint(1_000);
  const response = await gateway.fetch('/v1/example', { method: 'HEAD', headers: bearer(key) });
  expect(response.status).toBe(405);
  expect(await readAnswer(await gateway.fetch('/v1/balance', { headers: bearer(key) }))).toMatchObject({
    balance_mcents: 1_000,
  });
});

test('no cache keeps a balance, a result or a refusal', async () => {
  const key = await gateway.mint(1_000);
  for (const path of ['/v1/balance', '/v1/example', '/v1/calls', '/v1/keys', '/receipts/x', '/nowhere']) {
    const response = await gateway.fetch(path, { headers: { 'x-api-key': key } });
    expect([path, response.headers.get('cache-control')]).toEqual([path, 'no-store']);
  }
});

test('a key-paid answer says what is left on the key', async () => {
  const key = await gateway.mint(1_000);
  const answer = await readAnswer(await gateway.fetch('/v1/example', { headers: bearer(key) }));
  expect(answer).toMatchObject({ charged_mcents: 100, balance_mcents: 900 });
});

test('eight top-ups at once from a purse for one: one is paid, and nothing of ours is burnt on the others', async () => {
  const agent = await createAgent(anvil, 0.1);
  const key = await gateway.mint(0);
  const topUp = jsonBody({ amount_mcents: 10_000 }, bearer(key));
  const headers = await Promise.all(
    Array.from({ length: 8 }, async () => agent.sign(await gateway.fetch('/v1/topup', topUp))),
  );
  const responses = await Promise.all(
    headers.map((signed) =>
      gateway.fetch('/v1/topup', jsonBody({ amount_mcents: 10_000 }, { ...bearer(key), ...signed })),
    ),
  );
  expect(responses.filter(({ status }) => status === 200)).toHaveLength(1);
  const [{ sent } = { sent: 0n }] = await database.sql<{ sent: bigint }[]>`
    SELECT count(*) AS sent FROM chain_transaction WHERE ref LIKE ${`%${agent.account.address.toLowerCase()}%`}`;
  expect(sent).toBe(1n);
});

test('who let a run go unpaid pays before the run from then on', async () => {
  const payer = 'eip155:1:0xdebtor';
  const input = { payer, payeeId: '00000000-0000-7000-8000-000000000001', unit: 'u', units: 10n };
  const risk = { ...input, amount: millicents(1), fundsAvailable: 1_000n };
  const assess = () => withTransaction(database.sql, (tx) => assessRisk(tx, risk, DEFAULT_RISK_LIMITS));
  expect(await assess()).toEqual({ kind: 'after-run' });
  const id = '00000000-0000-7000-8000-000000000002';
  await withTransaction(database.sql, (tx) =>
    openExposure(tx, { ...input, id, rail: 'evm', amount: 1n, state: 'void' }),
  );
  await database.sql`UPDATE ledger_exposure SET is_loss = 1 WHERE id = ${id}`;
  expect(await assess()).toEqual({ kind: 'settle-first' });
});

test('a call that found no place may be repeated with its Idempotency-Key, and then runs', async () => {
  const echo = await publishEcho(gateway);
  const key = await gateway.mint(1_000);
  const call = jsonBody(
    { tool: 'echo', arguments: { text: 'again' } },
    { ...bearer(key), 'idempotency-key': 'one' },
  );
  isFull = true;
  const refused = await gateway.fetch(echo.call, call);
  isFull = false;
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  expect(await readAnswer(await gateway.fetch(echo.call, call))).toMatchObject({
    ok: true,
    charged_mcents: 250,
  });
  expect(await readAnswer(await gateway.fetch('/v1/balance', { headers: bearer(key) }))).toMatchObject({
    balance_mcents: 750,
  });
});

test('free calls never take more than half of the sandbox, and no asker has all of that', async () => {
  const echo = await publishEcho(gateway, { pricing: { model: 'free' } });
  const keys = await Promise.all([gateway.mint(0), gateway.mint(0)]);
  const sleep = (key: string) =>
    gateway.fetch(echo.call, jsonBody({ tool: 'sleep', arguments: { seconds: 0.5 } }, bearer(key)));
  const [ours = [], theirs = []] = await Promise.all(
    keys.map((key) => Promise.all(Array.from({ length: 6 }, () => sleep(key)))),
  );
  for (const responses of [ours, theirs]) {
    expect(responses.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(responses.filter(({ status }) => status === 429)).toHaveLength(5);
  }
});

test('the publisher of a key-paid call cannot withdraw before the money behind the key is final', async () => {
  const echo = await publishEcho(gateway);
  const agent = await createAgent(anvil);
  const signup = await readAnswer(await agent.fetch(`${gateway.url}/v1/signup`, jsonBody({})));
  const call = jsonBody({ tool: 'echo', arguments: { text: 'x' } }, bearer(signup.key));
  expect((await gateway.fetch(echo.call, call)).status).toBe(200);
  const earnings = await (await gateway.fetch('/v1/balance', { headers: bearer(echo.key) })).json();
  expect(earnings).toMatchObject({ earned_mcents: 200, withdrawable_mcents: 0 });
});

test('a call too small for any rail is told to buy a key, which then pays for it', async () => {
  const echo = await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents: 5 } });
  const call = { tool: 'echo', arguments: { text: 'small' } };
  const response = await gateway.fetch(echo.call, jsonBody(call));
  expect([response.status, response.headers.get('payment-required')]).toEqual([402, null]);
  expect(await response.json()).toMatchObject({ amount_mcents: 5, signup_url: `${gateway.url}/v1/signup` });
  const paid = await gateway.fetch(echo.call, jsonBody(call, bearer(await gateway.mint(10))));
  expect(await readAnswer(paid)).toMatchObject({ ok: true, charged_mcents: 5, balance_mcents: 5 });
});
