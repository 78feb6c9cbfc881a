import { mkdtempSync, rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { chooseOwner } from '../../src/workers/steer.ts';
import { createAgent, jsonBody, publishEcho, readAnswer, readBooks } from '../e2e/fixtures.ts';
import { shakeHands } from '../e2e/mcp-fixtures.ts';
import { listOwn, type OwnServer, startOwn } from '../e2e/own-servers.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { gatewayEnvironment } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { type Answered, type Several, send, startSeveral } from './several.ts';

let database: TestDatabase;
let anvil: Anvil;
let dataDir: string;
let gateway: Several;
let own: OwnServer;
let echo: Awaited<ReturnType<typeof publishEcho>>;

/** Two workers with one sandbox place each. */
beforeAll(async () => {
  [database, anvil] = await Promise.all([createTestDatabase({ poolMax: 4 }), startAnvil({ log: silentLog })]);
  dataDir = mkdtempSync(join(tmpdir(), 'millicent-workers-paid-'));
  const env = { SANDBOX_CONCURRENCY: '2', REMOTE_ALLOW_LOOPBACK: 'yes' };
  gateway = await startSeveral(gatewayEnvironment({ database, anvil, env }, dataDir));
  echo = await publishEcho(gateway);
  own = await startOwn(answerSlowly);
}, 180_000);
afterAll(async () => {
  gateway.child.kill('SIGTERM');
  await gateway.exited;
  await Promise.all([anvil.close(), own.close(), database.close()]);
  rmSync(dataDir, { recursive: true, force: true });
});

const SLOW_MS = 1_500;

/** A publisher's server with one tool, which takes its time. */
const answerSlowly: Parameters<typeof startOwn>[0] = async (_request, response, body) => {
  const { id, method, params } = JSON.parse(body.toString());
  const answer = (result: unknown) =>
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ jsonrpc: '2.0', id, result }));
  if (id === undefined) return response.writeHead(202).end();
  if (method === 'tools/list') return answer({ tools: [{ name: 'slow', inputSchema: { type: 'object' } }] });
  if (method === 'initialize') {
    const serverInfo = { name: 'slow', version: '1' };
    return answer({ protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo });
  }
  await sleep(SLOW_MS);
  return answer({ content: [{ type: 'text', text: 'done' }] });
};

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

/** Keys of which each worker owns as many. */
async function mintForEach(count: number, balance: number): Promise<string[]> {
  const owned = new Map<number, string[]>([
    [1, []],
    [2, []],
  ]);
  while ([...owned.values()].some(({ length }) => length < count)) {
    const key = await gateway.mint(balance);
    owned.get(chooseOwner(key, [1, 2]) ?? 0)?.push(key);
  }
  return [...owned.values()].flatMap((keys) => keys.slice(0, count));
}

test('one credential sent to both workers 20 times at once buys once, and so does one signup payment', async () => {
  const agent = await createAgent(anvil);
  const tries: [path: string, body: unknown][] = [
    [echo.call, { tool: 'random', arguments: {} }],
    ['/v1/signup', { label: 'twenty' }],
  ];
  for (const [path, body] of tries) {
    const owned = await agent.owns();
    const challenge = await gateway.fetch(path, jsonBody(body));
    const headers = await agent.sign(challenge);
    const { amount_mcents: price } = (await challenge.json()) as { amount_mcents: number };
    // Strangers' connections go to the workers in turn.
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => send(gateway.url + path, body, { headers })),
    );
    const good = answers.filter(({ status }) => status === 200 || status === 201);
    expect(good.length).toBeGreaterThan(0);
    expect(new Set(good.map((answer) => JSON.stringify(answer.body))).size).toBe(1);
    const others = answers.filter((answer) => !good.includes(answer));
    expect(others.map(({ status }) => status).filter((status) => status !== 409)).toEqual([]);
    // Ten token units a millicent.
    expect(owned - (await agent.owns())).toBe(BigInt(price) * 10n);
  }
}, 60_000);

test('an agent signs up, pays with a wallet, and calls with the key it gets', async () => {
  const agent = await createAgent(anvil);
  const signup = await readAnswer(await agent.fetch(`${gateway.url}/v1/signup`, jsonBody({ label: 'new' })));
  const answer = await send(`${gateway.url}/v1/example`, {}, { headers: bearer(signup.key) });
  expect(answer.status).toBe(200);
}, 60_000);

test('a free call taken back at another worker than its own stops', async () => {
  const pricing = { model: 'per_call', amount_mcents: 0, tools: { random: 50 } };
  const free = await publishEcho(gateway, { pricing });
  const path = `/mcp/${encodeURIComponent(free.name)}`;
  const session = await shakeHands(gateway, path);
  const headers = { accept: 'application/json, text/event-stream', ...session };
  const params = { name: 'sleep', arguments: { seconds: 4 } };
  const call = send(
    gateway.url + path,
    { jsonrpc: '2.0', id: 'long', method: 'tools/call', params },
    { headers },
  );
  let answer: Answered | undefined;
  void call.then((given) => {
    answer = given;
  });
  // A connection that belongs to the other worker, as its first request showed a key of that one.
  const owner = chooseOwner(session['mcp-session-id'] ?? '', [1, 2]);
  const [foreign = ''] = (await mintForEach(1, 1_000)).filter((key) => chooseOwner(key, [1, 2]) !== owner);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await send(`${gateway.url}/v1/example`, {}, { headers: bearer(foreign), agent });
  const message = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'long' } };
  // Until the call has arrived there is nothing to take back.
  await waitUntil(async () => {
    expect((await send(gateway.url + path, message, { headers, agent })).status).toBe(202);
    return answer;
  });
  agent.destroy();
  expect(answer?.body).toMatchObject({ error: { message: 'The request was cancelled.' } });
}, 60_000);

test('both workers run hosted calls at the same time, each in its part of the places', async () => {
  const keys = await mintForEach(2, 10_000);
  const started = performance.now();
  const ended = new Map<string, number>();
  const calls = keys.map(async (key) => {
    const body = { tool: 'sleep', arguments: { seconds: 1 } };
    const answer = await send(gateway.url + echo.call, body, { headers: bearer(key) });
    ended.set(key, performance.now() - started);
    return answer;
  });
  for (const { status, body } of await Promise.all(calls)) {
    expect({ status, body }).toMatchObject({ status: 200, body: { ok: true, charged_mcents: 250 } });
  }
  // One place each: of two calls of one worker the second waits for the first, whatever the other worker does.
  for (const owner of [1, 2]) {
    const times = keys.filter((key) => chooseOwner(key, [1, 2]) === owner).map((key) => ended.get(key) ?? 0);
    expect(Math.abs((times[0] ?? 0) - (times[1] ?? 0))).toBeGreaterThan(700);
  }
}, 60_000);

test('SIGTERM fails no hosted and no self-hosted call under way at either worker, and the books are right', async () => {
  const listed = await listOwn(gateway, own, {
    change: { pricing: { model: 'per_call', amount_mcents: 250 } },
  });
  const keys = await mintForEach(2, 10_000);
  const calls: Promise<Answered>[] = keys.flatMap((key) => [
    send(`${gateway.url}${listed.call}`, { tool: 'slow', arguments: {} }, { headers: bearer(key) }),
    send(gateway.url + echo.call, { tool: 'sleep', arguments: { seconds: 0.5 } }, { headers: bearer(key) }),
  ]);
  await waitUntil(async () => {
    const held = await database.sql`SELECT 1 FROM ledger_hold WHERE state = 'held'`;
    return held.length >= calls.length;
  });
  const books = await readBooks(gateway);
  expect(books.discrepancies).toEqual([]);
  const workers = gateway.workers();
  expect(workers).toHaveLength(2);
  gateway.child.kill('SIGTERM');
  for (const { status, body } of await Promise.all(calls)) {
    expect({ status, body }).toMatchObject({ status: 200, body: { ok: true, charged_mcents: 250 } });
  }
  expect(await gateway.exited).toBe(0);
  expect(await database.sql`SELECT 1 FROM ledger_hold WHERE state = 'held'`).toEqual([]);
}, 60_000);
