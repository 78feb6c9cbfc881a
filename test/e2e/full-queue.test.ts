import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { expectTrueBooks, type FaultLab, startFaultLab, withHeaders } from './fault-lab.ts';
import { createAgent, jsonBody, publishEcho, readAnswer } from './fixtures.ts';
import { ask, shakeHands } from './mcp-fixtures.ts';

const AT_ONCE = 20;

let lab: FaultLab;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  lab = await startFaultLab();
  gateway = await lab.start({ env: { SANDBOX_CONCURRENCY: '1', SANDBOX_QUEUE: '0' } });
  echo = await publishEcho(gateway, { limits: { timeout_ms: 30_000 } });
});
afterAll(async () => {
  await expectTrueBooks(lab, gateway);
  await lab.close();
});

const bearer = (key: string, further = {}) => ({ authorization: `Bearer ${key}`, ...further });
const called = (label: string, headers = {}) =>
  jsonBody({ tool: 'random', arguments: { label } }, headers as Record<string, string>);
const countRows = () => lab.database.sql`
  SELECT (SELECT count(*) FROM ledger_hold)::int AS holds, (SELECT count(*) FROM payment_claim)::int AS claims`;

/** Until the place is free, or taken: a call has it for a moment longer than its answer takes. */
async function untilFree(isFree = true): Promise<void> {
  const { execution } = gateway.deps.http;
  while ((execution.load().running === 0) !== isFree) await sleep(5);
}

/** A call that finds its place. */
async function send(path: string, request: RequestInit): Promise<Response> {
  await untilFree();
  return gateway.fetch(path, request);
}

/** Takes the only place, with a call that sleeps; `emptied` waits for its end. */
async function fillSandbox() {
  const key = await gateway.mint(10_000);
  const asleep = send(echo.call, jsonBody({ tool: 'sleep', arguments: { seconds: 6 } }, bearer(key)));
  await untilFree();
  await untilFree(false);
  return {
    async emptied(): Promise<void> {
      expect((await asleep).status).toBe(200);
      await untilFree();
    },
  };
}

/** The answer of whoever found no place. */
async function expectNoPlace(response: Response): Promise<void> {
  expect([response.status, response.headers.get('payment-required')]).toEqual([503, null]);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  const { type, note } = await readAnswer(response);
  expect([type, note]).toEqual([expect.stringMatching(/unavailable$/), 'no charge applied']);
}

test('where there is no place nobody is asked to pay and nothing is set aside, whoever asks and however', async () => {
  const key = await gateway.mint(10_000);
  const repeated = called('named', bearer(key, { 'idempotency-key': 'no place' }));
  const session = await shakeHands(gateway, `/mcp/${echo.id}`);
  const { emptied } = await fillSandbox();
  const before = await countRows();
  await expectNoPlace(await gateway.fetch(echo.call, called('stranger')));
  await expectNoPlace(await gateway.fetch(echo.call, repeated));
  const byKey = called('by key', bearer(key));
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => expectNoPlace(await gateway.fetch(echo.call, byKey))),
  );
  const asked = { name: 'random', arguments: {} };
  for (const headers of [{}, bearer(key)]) {
    const { body } = await ask(gateway, `/mcp/${echo.id}`, 'tools/call', asked, { ...session, ...headers });
    expect(JSON.stringify(body)).toMatch(/Too many calls are running already/);
  }
  expect(await countRows()).toEqual(before);
  const metrics = await (await gateway.fetch('/metrics')).text();
  expect(metrics).toContain('millicent_sandbox_running 1\n');
  expect(metrics).toMatch(/^millicent_sandbox_turned_away_total 2[4-9]$/m);
  await emptied();
  expect(await readAnswer(await gateway.fetch(echo.call, repeated))).toMatchObject({ charged_mcents: 50 });
});

test('a signed payment that finds no place is not used, and pays when it is sent again', async () => {
  const agent = await createAgent(lab.anvil);
  const owned = await agent.owns();
  const request = called('signed');
  const paying = withHeaders(request, await agent.sign(await send(echo.call, request)));
  const { emptied } = await fillSandbox();
  await expectNoPlace(await gateway.fetch(echo.call, paying));
  expect(await agent.owns()).toBe(owned);
  await emptied();
  expect(await readAnswer(await gateway.fetch(echo.call, paying))).toMatchObject({ charged_mcents: 50 });
});

test('what was paid for earlier is answered where there is no place, whatever paid and however it is asked', async () => {
  const agent = await createAgent(lab.anvil);
  const key = await gateway.mint(10_000, ['invoke', 'read']);
  const request = called('signed earlier');
  const signed = withHeaders(request, await agent.sign(await send(echo.call, request)));
  const named = called('named earlier', bearer(key, { 'idempotency-key': 'earlier' }));
  const inside = jsonBody(
    {
      tool: 'call_tool',
      arguments: {
        server: echo.id,
        tool: 'random',
        arguments: { label: 'inside' },
        idempotency_key: 'inside',
      },
    },
    bearer(key),
  );
  const first = [];
  for (const each of [signed, named]) first.push((await readAnswer(await send(echo.call, each))).receipt_id);
  const bought = (await readAnswer(await send('/invoke/millicent', inside))).result;
  expect(bought).toMatchObject({ structuredContent: { charged_mcents: 50 } });
  const { emptied } = await fillSandbox();
  const [again, repeated, boughtAgain] = await Promise.all([
    gateway.fetch(echo.call, signed).then(readAnswer),
    gateway.fetch(echo.call, named).then(readAnswer),
    gateway.fetch('/invoke/millicent', inside).then(readAnswer),
  ]);
  expect([again?.receipt_id, repeated?.receipt_id]).toEqual(first);
  expect(boughtAgain?.result).toEqual(bought);
  await expectNoPlace(await gateway.fetch(echo.call, called('new')));
  await emptied();
});

test('an answer that is owed is given where there is no place, to who signs again and pays nothing for it', async () => {
  const agent = await createAgent(lab.anvil);
  const request = called('owed');
  const challenge = await send(echo.call, request);
  const [first, second] = [await agent.sign(challenge.clone()), await agent.sign(challenge)];
  const delivered = await readAnswer(await send(echo.call, withHeaders(request, first)));
  // Only once it is noted that the answer arrived: the note would come behind ours.
  await waitUntil(
    async () =>
      (
        await lab.database.sql`UPDATE payment_claim SET answer_state = 'lost'
          WHERE id = ${delivered.receipt_id ?? ''} AND answer_state = 'answered' RETURNING id`
      ).length === 1,
  );
  const owned = await agent.owns();
  const { emptied } = await fillSandbox();
  const owed = await gateway.fetch(echo.call, withHeaders(request, second));
  expect(await readAnswer(owed)).toMatchObject({ receipt_id: delivered.receipt_id });
  expect(await agent.owns()).toBe(owned);
  await expectNoPlace(await gateway.fetch(echo.call, called('new')));
  await emptied();
});
