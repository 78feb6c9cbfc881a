import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { bucketOf, newUuid } from '../../src/core/ids.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import {
  expectTrueBooks,
  type FaultLab,
  hookRuns,
  type RunHooks,
  readAttached,
  readClaims,
  startFaultLab,
  withHeaders,
} from './fault-lab.ts';
import { type Agent, createAgent, jsonBody, publishEcho, readAnswer, submission } from './fixtures.ts';

const PRICE_UNITS = 500n;
const LOUD = readFileSync(join(import.meta.dirname, 'servers/loud.py'), 'utf8');

let lab: FaultLab;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;
let loud: Awaited<ReturnType<typeof publishEcho>>;
let calls = 0;
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startFaultLab();
  gateway = await lab.start({ change: ({ http }) => hookRuns(http, hooks) });
  echo = await publishEcho(gateway);
  const pricing = { model: 'per_call', amount_mcents: 250 };
  loud = await publishEcho(gateway, { files: { 'server.py': LOUD }, pricing });
});
afterEach(() => {
  hooks.before = undefined;
});
afterAll(async () => {
  await expectTrueBooks(lab, gateway);
  await lab.close();
});

/** A call with a label of its own; its result is another one each time it runs. */
function newCall(): { label: string; request: RequestInit } {
  calls += 1;
  const label = `call ${calls}`;
  return { label, request: jsonBody({ tool: 'random', arguments: { label } }) };
}

const runsOf = (label: string) => hooks.runs.filter((run) => run === label).length;

async function pay(agent: Agent, path: string, request: RequestInit): Promise<Record<string, string>> {
  return agent.sign(await gateway.fetch(path, request));
}

/** Makes every run wait until `open` is called. */
function holdRuns(): { open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  hooks.before = () => opened;
  return { open: () => open() };
}

/** A client that pays and leaves while the tool runs; the tool goes on until `open`. */
async function leaveDuringRun(agent: Agent) {
  const { label, request } = newCall();
  const gate = holdRuns();
  const leaving = new AbortController();
  const credential = await pay(agent, echo.call, request);
  const sent = gateway.fetch(echo.call, { ...withHeaders(request, credential), signal: leaving.signal });
  sent.catch(() => {});
  await waitUntil(() => runsOf(label) === 1);
  leaving.abort();
  await waitUntil(async () => (await readClaims(lab, agent))[0]?.answerState === 'lost');
  return { label, request, credential, open: gate.open };
}

/** The same, once the call has been settled with nobody there to hear of it. */
async function loseAnswer(agent: Agent) {
  const lost = await leaveDuringRun(agent);
  lost.open();
  await waitUntil(async () => (await readClaims(lab, agent))[0]?.state === 'delivered');
  return lost;
}

describe('a client that leaves while the tool runs', () => {
  test('is charged once, and its next call gets the stored answer without paying', async () => {
    const agent = await createAgent(lab.anvil);
    const owned = await agent.owns();
    const { label, request, credential } = await loseAnswer(agent);
    const answer = await readAnswer(await agent.fetch(gateway.url + echo.call, request));
    const [claim] = await readClaims(lab, agent);
    expect(answer).toMatchObject({ ok: true, receipt_id: claim?.id });
    expect(await readAnswer(await gateway.fetch(echo.call, withHeaders(request, credential)))).toEqual(
      answer,
    );
    expect(runsOf(label)).toBe(1);
    expect(owned - (await agent.owns())).toBe(PRICE_UNITS);
  });

  test('and comes back before the tool has ended waits for that run, and pays nothing more', async () => {
    const agent = await createAgent(lab.anvil);
    const owned = await agent.owns();
    const { label, request, open } = await leaveDuringRun(agent);
    const again = agent.fetch(gateway.url + echo.call, request);
    await waitUntil(async () => (await readAttached(lab, agent))[0]?.answerState === 'waiting');
    open();
    expect((await again).status).toBe(200);
    expect(runsOf(label)).toBe(1);
    expect(owned - (await agent.owns())).toBe(PRICE_UNITS);
    // Answered now: the next one is a call of its own.
    expect((await agent.fetch(gateway.url + echo.call, request)).status).toBe(200);
    expect(owned - (await agent.owns())).toBe(2n * PRICE_UNITS);
  });

  test('gets its answer although that payment took the last of its money', async () => {
    const agent = await createAgent(lab.anvil, Number(PRICE_UNITS) / 1_000_000);
    const { label, request } = await loseAnswer(agent);
    expect(await agent.owns()).toBe(0n);
    const response = await agent.fetch(gateway.url + echo.call, request);
    expect(await readAnswer(response)).toMatchObject({ ok: true });
    expect(runsOf(label)).toBe(1);
    const poor = await agent.fetch(gateway.url + echo.call, request);
    expect(poor.status).toBe(402);
  });

  test('does not pay again when it signs at the very moment the first payment is booked', async () => {
    const agent = await createAgent(lab.anvil);
    const owned = await agent.owns();
    const { request } = await loseAnswer(agent);
    const [claim] = await readClaims(lab, agent);
    const { sql } = lab.database;
    let again: Promise<Response> | undefined;
    await sql.begin(async (tx) => {
      await tx`SELECT FROM payment_claim WHERE id = ${claim?.id ?? ''} FOR UPDATE`;
      again = agent.fetch(gateway.url + echo.call, request);
      await waitUntil(async () => {
        const waiting = await sql`SELECT FROM pg_stat_activity
          WHERE datname = current_database() AND wait_event_type = 'Lock'`;
        return waiting.length > 0;
      });
    });
    expect(await readAnswer((await again) ?? Response.error())).toMatchObject({ receipt_id: claim?.id });
    expect(owned - (await agent.owns())).toBe(PRICE_UNITS);
  });

  test('and signs 20 times at once afterwards: one gets the lost answer, 19 are ordinary paid calls', async () => {
    const agent = await createAgent(lab.anvil);
    const owned = await agent.owns();
    const { label, request } = await loseAnswer(agent);
    const [lost] = await readClaims(lab, agent);
    const responses = await Promise.all(
      Array.from({ length: 20 }, () => agent.fetch(gateway.url + echo.call, request)),
    );
    const answers = await Promise.all(responses.map(readAnswer));
    expect(responses.map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect(answers.filter(({ receipt_id }) => receipt_id === lost?.id)).toHaveLength(1);
    expect(new Set(answers.map(({ receipt_id }) => receipt_id)).size).toBe(20);
    expect(runsOf(label)).toBe(20);
    expect(owned - (await agent.owns())).toBe(20n * PRICE_UNITS);
  });

  test('a call by key goes on and is charged once; under an Idempotency-Key its answer is kept', async () => {
    for (const headers of [{}, { 'idempotency-key': 'left' }]) {
      const authorization = `Bearer ${await gateway.mint(1_000)}`;
      const { label, request } = newCall();
      const gate = holdRuns();
      const leaving = new AbortController();
      const call = withHeaders(request, { authorization, ...headers });
      gateway.fetch(echo.call, { ...call, signal: leaving.signal }).catch(() => {});
      await waitUntil(() => runsOf(label) === 1);
      leaving.abort();
      gate.open();
      await waitUntil(async () => {
        const rows = await lab.database.sql`SELECT FROM ledger_hold WHERE state = 'held'`;
        return rows.length === 0;
      });
      if ('idempotency-key' in headers) expect((await gateway.fetch(echo.call, call)).status).toBe(200);
      expect(runsOf(label)).toBe(1);
      const balance = await readAnswer(await gateway.fetch('/v1/balance', { headers: { authorization } }));
      expect(balance.balance_mcents).toBe(950);
    }
  });
});

test('a run that never comes to an end here is released, and what it brings later is nobody’s', async () => {
  const agent = await createAgent(lab.anvil);
  const { label, request } = newCall();
  const gate = holdRuns();
  const credential = await pay(agent, echo.call, request);
  const sent = gateway.fetch(echo.call, withHeaders(request, credential));
  await waitUntil(() => runsOf(label) === 1);
  const [claim] = await readClaims(lab, agent);
  await lab.database.sql`
    UPDATE payment_claim SET created_at = created_at - interval '11 minutes' WHERE id = ${claim?.id ?? ''}`;
  await waitUntil(async () => (await readClaims(lab, agent))[0]?.state === 'failed');
  gate.open();
  expect(await readAnswer(await sent)).toMatchObject({ status: 503, note: 'no charge applied' });
  expect(await agent.owns()).toBe(10_000_000n);
});

describe('work done before its money is here stays within limits', () => {
  test('of 17 calls of a new payer at once 16 run on its promise, and the 17th pays first', async () => {
    const agent = await createAgent(lab.anvil);
    const owned = await agent.owns();
    const requests = Array.from({ length: 17 }, newCall);
    const credentials: RequestInit[] = [];
    for (const { request } of requests) {
      credentials.push(withHeaders(request, await pay(agent, echo.call, request)));
    }
    const gate = holdRuns();
    const send = (call: RequestInit) => gateway.fetch(echo.call, call);
    const running = () => requests.filter(({ label }) => runsOf(label) === 1).length;
    const first = credentials.slice(0, 16).map(send);
    await waitUntil(() => running() === 16);
    const last = credentials.slice(16).map(send);
    await waitUntil(() => running() === 17);
    expect(owned - (await agent.owns())).toBe(PRICE_UNITS);
    const modes = (await readClaims(lab, agent)).map(({ mode, reference }) => [mode, reference !== null]);
    expect(modes).toEqual([...Array(16).fill(['after-run', false]), ['before-run', true]]);
    gate.open();
    const responses = await Promise.all([...first, ...last]);
    expect(responses.map(({ status }) => status)).toEqual(Array(17).fill(200));
    expect(owned - (await agent.owns())).toBe(17n * PRICE_UNITS);
  });

  test('a new payer that owes $0.06 pays the next $0.06 first, and one after another both on its promise', async () => {
    const dear = await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents: 6_000 } });
    const agent = await createAgent(lab.anvil);
    const calls = [newCall(), newCall()];
    const gate = holdRuns();
    const responses: Promise<Response>[] = [];
    for (const { label, request } of calls) {
      const credential = await pay(agent, dear.call, request);
      responses.push(gateway.fetch(dear.call, withHeaders(request, credential)));
      await waitUntil(() => runsOf(label) === 1);
    }
    expect((await readClaims(lab, agent)).map(({ mode }) => mode)).toEqual(['after-run', 'before-run']);
    gate.open();
    expect((await Promise.all(responses)).map(({ status }) => status)).toEqual([200, 200]);
    expect((await agent.fetch(gateway.url + dear.call, newCall().request)).status).toBe(200);
    expect((await readClaims(lab, agent)).at(-1)?.mode).toBe('after-run');
  });

  test('a payer must own this call on top of everything it owes', async () => {
    const agent = await createAgent(lab.anvil, Number(PRICE_UNITS) / 1_000_000);
    const calls = [newCall(), newCall()];
    const credentials: RequestInit[] = [];
    for (const { request } of calls) {
      credentials.push(withHeaders(request, await pay(agent, echo.call, request)));
    }
    const gate = holdRuns();
    const first = gateway.fetch(echo.call, credentials[0]);
    await waitUntil(() => runsOf(calls[0]?.label ?? '') === 1);
    const second = await gateway.fetch(echo.call, credentials[1]);
    expect(second.status).toBe(402);
    expect(second.headers.get('payment-required')).toBeTruthy();
    gate.open();
    expect((await first).status).toBe(200);
    expect(runsOf(calls[1]?.label ?? '')).toBe(0);
  });

  test('a publisher whose calls lost a dollar this hour is paid first', async () => {
    const server = await publishEcho(gateway);
    const agent = await createAgent(lab.anvil);
    expect((await agent.fetch(gateway.url + server.call, newCall().request)).status).toBe(200);
    const id = newUuid();
    await lab.database.sql`
      INSERT INTO ledger_exposure (bucket, id, rail, payer, payee_id, unit, units, amount, state, is_loss)
      SELECT ${bucketOf(id)}, ${id}, rail, 'somebody else', payee_id, unit, 1000000, 100000, 'void', 1
      FROM ledger_exposure WHERE id = ${(await readClaims(lab, agent))[0]?.id ?? ''}`;
    expect((await agent.fetch(gateway.url + server.call, newCall().request)).status).toBe(200);
    expect((await agent.fetch(gateway.url + echo.call, newCall().request)).status).toBe(200);
    const modes = (await readClaims(lab, agent)).map(({ mode }) => mode);
    expect(modes).toEqual(['after-run', 'before-run', 'after-run']);
  });
});

describe('free failures are not a loophole', () => {
  const fail = (label: string) => jsonBody({ tool: 'fail', arguments: { label } });

  test('after 20 within an hour a payer’s next call of that tool is 429, and nobody else’s is', async () => {
    const server = await publishEcho(gateway);
    const [agent, other] = [await createAgent(lab.anvil), await createAgent(lab.anvil)];
    for (let failure = 0; failure < 20; failure += 1) {
      const response = await agent.fetch(gateway.url + server.call, fail(`failure ${failure}`));
      expect(response.status).toBe(502);
    }
    const refused = await agent.fetch(gateway.url + server.call, fail('one more'));
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ note: 'no charge applied' });
    expect(runsOf('one more')).toBe(0);
    expect((await other.fetch(gateway.url + server.call, fail('other'))).status).toBe(502);
    expect((await agent.fetch(gateway.url + echo.call, newCall().request)).status).toBe(200);
    expect(await agent.owns()).toBe(10_000_000n - PRICE_UNITS);
    const listing = await (await gateway.fetch(`/mcp/${server.id}`)).json();
    expect(listing).not.toHaveProperty('paused_at');
  });

  test('a tool that fails for three payers too often is paused, says so, and a new version ends it', async () => {
    const server = await publishEcho(gateway);
    const keys = [await gateway.mint(5_000), await gateway.mint(5_000), await gateway.mint(5_000)];
    const call = (request: RequestInit, key = keys[0]) =>
      gateway.fetch(server.call, withHeaders(request, { authorization: `Bearer ${key}` }));
    for (let failure = 0; failure < 11; failure += 1) {
      expect((await call(fail(`pause ${failure}`), keys[failure % 3])).status).toBe(502);
    }
    const look = async () => (await gateway.fetch(`/mcp/${server.id}`)).json();
    const paused = await waitUntil(async () => {
      const listing = await look();
      return listing !== null && typeof listing === 'object' && 'paused_at' in listing ? listing : undefined;
    });
    expect(paused).toMatchObject({ pause_reason: expect.stringMatching(/new version/i) });
    const refused = await call(newCall().request);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBeTruthy();
    expect(await refused.json()).toMatchObject({ note: 'no charge applied' });

    const next = submission(server.name, { version: '1.0.1' });
    const put = { ...jsonBody(next, { authorization: `Bearer ${server.key}` }), method: 'PUT' };
    expect((await gateway.fetch(`/mcp/${server.id}`, put)).status).toBe(201);
    expect(await look()).not.toHaveProperty('paused_at');
    expect((await call(newCall().request)).status).toBe(200);
    // What failed before the repair does not count against it.
    expect((await call(fail('after'), keys[1])).status).toBe(502);
    expect(await look()).not.toHaveProperty('paused_at');
  });

  test.each(['complain', 'scream', 'lie'])(
    'a failure is told in at most 512 bytes, without the content (%s)',
    async (tool) => {
      const agent = await createAgent(lab.anvil);
      const response = await agent.fetch(gateway.url + loud.call, jsonBody({ tool, arguments: {} }));
      const body = await readAnswer(response);
      expect(response.status).toBe(502);
      expect(Buffer.byteLength(body.detail)).toBeLessThanOrEqual(512);
      expect(body).not.toHaveProperty('result');
      if (tool !== 'complain') expect(JSON.stringify(body)).not.toContain('not paid for');
    },
  );
});

describe('a stored answer', () => {
  /** The same paid request again is 410 with the receipt, whose call nobody has to pay again. */
  async function expectGone(path: string, request: RequestInit, receiptId: string): Promise<void> {
    const response = await gateway.fetch(path, request);
    expect(response.status).toBe(410);
    expect(response.headers.get('payment-required')).toBeNull();
    expect(await readAnswer(response)).toMatchObject({ receipt_id: receiptId });
    expect((await gateway.fetch(`/receipts/${receiptId}`)).status).toBe(200);
  }

  test('of more than 1 MiB is delivered, and gone for a retry', async () => {
    const agent = await createAgent(lab.anvil);
    const request = jsonBody({ tool: 'huge', arguments: {} });
    const paid = withHeaders(request, await pay(agent, loud.call, request));
    const response = await gateway.fetch(loud.call, paid);
    const text = await response.text();
    expect(response.status).toBe(200);
    expect(text.length).toBeGreaterThan(1024 * 1024);
    const owned = await agent.owns();
    await expectGone(loud.call, paid, JSON.parse(text).receipt_id);
    expect(await agent.owns()).toBe(owned);
  });

  test('beyond 64 MiB of a payer is delivered, and gone for a retry', async () => {
    const agent = await createAgent(lab.anvil);
    const payer = `eip155:${lab.anvil.chainId}:${agent.account.address.toLowerCase()}`;
    const id = newUuid();
    await lab.database.sql`INSERT INTO payment_answer (bucket, id, payer, sealed, bytes)
      VALUES (${bucketOf(id)}, ${id}, ${payer}, ''::bytea, ${64 * 1024 * 1024 + 1})`;
    const { request } = newCall();
    const paid = withHeaders(request, await pay(agent, echo.call, request));
    const first = await readAnswer(await gateway.fetch(echo.call, paid));
    expect(first.ok).toBe(true);
    await expectGone(echo.call, paid, first.receipt_id);
  });

  test.each(['expired', 'pruned'])('a day old (%s) is 410 and never 402', async (state) => {
    const agent = await createAgent(lab.anvil);
    const { request } = newCall();
    const paid = withHeaders(request, await pay(agent, echo.call, request));
    const key = `Bearer ${await gateway.mint(100)}`;
    const keyed = withHeaders(request, { authorization: key, 'idempotency-key': `old ${state}` });
    for (const call of [paid, keyed]) {
      const first = await readAnswer(await gateway.fetch(echo.call, call));
      const { sql } = lab.database;
      const day = '24 hours 1 second';
      await sql`UPDATE payment_answer SET expires_at = expires_at - ${day}::interval WHERE id = ${first.receipt_id}`;
      if (state === 'pruned') await gateway.deps.http.answers.prune();
      const owned = await agent.owns();
      await expectGone(echo.call, call, first.receipt_id);
      expect(await agent.owns()).toBe(owned);
    }
  });

  test('is kept for a day from the moment its money is in', async () => {
    const agent = await createAgent(lab.anvil);
    const response = await agent.fetch(gateway.url + echo.call, newCall().request);
    const { receipt_id } = await readAnswer(response);
    const [row] = await lab.database.sql<{ hours: number }[]>`
      SELECT extract(epoch FROM a.expires_at - c.closed_at)::float8 / 3600 AS hours
      FROM payment_answer a JOIN payment_claim c ON c.id = a.id WHERE a.id = ${receipt_id}`;
    expect(row?.hours).toBeCloseTo(24, 2);
  });
});
