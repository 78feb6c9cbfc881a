import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { creditStrays } from '../../src/gateway/index.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { type Agent, createAgent, jsonBody, publishEcho, readAnswer, readBooks } from './fixtures.ts';
import { broadcastForeign } from './third-party.ts';

let anvil: Anvil;
let database: TestDatabase;
let gateway: TestGateway;
let tool: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  [anvil, database] = await Promise.all([startAnvil({ log: silentLog }), createTestDatabase()]);
  gateway = await startTestGateway({ database, anvil });
  tool = await publishEcho(gateway);
});
afterAll(async () => {
  await gateway?.close();
  await database?.close();
  await anvil?.close();
});

const call = () => jsonBody({ tool: 'echo', arguments: { text: 'hello' } });
const payerOf = (agent: Agent) => `eip155:${anvil.chainId}:${agent.account.address}`;

/** An agent whose payment reached us without its request: it bought nothing. */
async function createCreditor(): Promise<Agent> {
  const agent = await createAgent(anvil);
  const credential = await agent.sign(await gateway.fetch(tool.call, call()));
  await broadcastForeign(anvil, credential);
  const init = call();
  const answer = await gateway.fetch(tool.call, { ...init, headers: { ...init.headers, ...credential } });
  expect(answer.status).toBe(409);
  return agent;
}

type Challenge = { message: string; nonce: string; issued_at: string };

async function challengeOf(payer: string): Promise<Challenge> {
  const response = await gateway.fetch('/v1/credit/challenge', jsonBody({ payer }));
  expect(response.status).toBe(200);
  return (await response.json()) as Challenge;
}

async function claim(agent: Agent, challenge: Challenge, change: Record<string, unknown> = {}) {
  const signature = await agent.account.signMessage({ message: challenge.message });
  const { nonce, issued_at } = challenge;
  const body = { payer: payerOf(agent), nonce, issued_at, signature, ...change };
  return gateway.fetch('/v1/credit', jsonBody(body));
}

test('a payment that bought nothing is credit, and its payer opens it with a fresh signature', async () => {
  const agent = await createCreditor();
  const response = await claim(agent, await challengeOf(payerOf(agent)));
  expect(response.status).toBe(200);
  const { key, balance_mcents } = await readAnswer(response);
  expect(balance_mcents).toBe(250);
  const init = call();
  const paid = await gateway.fetch(tool.call, {
    ...init,
    headers: { ...init.headers, authorization: `Bearer ${key}` },
  });
  expect(paid.status).toBe(200);
  expect(await readAnswer(paid)).toMatchObject({ ok: true, charged_mcents: 250, balance_mcents: 0 });
  expect(await readBooks(gateway)).toMatchObject({ balanced: true });
});

test('it is credit also when it is shown with another request, and no new payment is asked for it', async () => {
  const agent = await createAgent(anvil);
  const credential = await agent.sign(await gateway.fetch(tool.call, call()));
  await broadcastForeign(anvil, credential);
  const other = jsonBody({ tool: 'echo', arguments: { text: 'another' } });
  const init = { ...other, headers: { ...other.headers, ...credential } };
  for (const _ of [1, 2]) expect((await gateway.fetch(tool.call, init)).status).toBe(409);
  const response = await claim(agent, await challengeOf(payerOf(agent)));
  expect(await readAnswer(response)).toMatchObject({ ok: true, balance_mcents: 250 });
  expect(await readBooks(gateway)).toMatchObject({ balanced: true });
});

test('the same signature twenty times at once is one key, and the credit is there once', async () => {
  const agent = await createCreditor();
  const challenge = await challengeOf(payerOf(agent));
  const answers = await Promise.all(
    Array.from({ length: 20 }, async () => readAnswer(await claim(agent, challenge))),
  );
  expect(new Set(answers.map(({ key }) => key)).size).toBe(1);
  expect(answers.every(({ balance_mcents }) => balance_mcents === 250)).toBe(true);
});

test('a stranger opens nothing: not with its own signature, another payer, another message or an old one', async () => {
  const [agent, stranger] = [await createCreditor(), await createAgent(anvil)];
  const challenge = await challengeOf(payerOf(agent));
  const asStranger = await stranger.account.signMessage({ message: challenge.message });
  expect((await claim(agent, challenge, { signature: asStranger })).status).toBe(400);
  expect((await claim(stranger, challenge)).status).toBe(400);
  expect((await claim(agent, { ...challenge, nonce: 'f'.repeat(32) })).status).toBe(400);
  const past = new Date(Date.now() - 3_600_000).toISOString();
  expect((await claim(agent, { ...challenge, issued_at: past })).status).toBe(400);
  expect((await claim(agent, challenge, { payer: 'nobody' })).status).toBe(400);
});

test('a payer without credit is told so', async () => {
  const agent = await createAgent(anvil);
  const response = await claim(agent, await challengeOf(payerOf(agent)));
  expect(response.status).toBe(404);
});

test('a payment that nobody ever showed us is found on the chain, and credited once', async () => {
  const { http } = gateway.deps;
  const look = () => creditStrays(http, AbortSignal.timeout(10_000));
  // The first look says from where on; what comes later is found once its block is final.
  await look();
  const agent = await createAgent(anvil);
  const credential = await agent.sign(await gateway.fetch(tool.call, call()));
  await broadcastForeign(anvil, credential);
  await anvil.rpc('anvil_mine', ['0x80']);
  await Promise.all([look(), look()]);
  await look();
  const response = await claim(agent, await challengeOf(payerOf(agent)));
  expect(await readAnswer(response)).toMatchObject({ balance_mcents: 250 });
  const init = call();
  const late = await gateway.fetch(tool.call, { ...init, headers: { ...init.headers, ...credential } });
  expect(late.status).toBe(409);
  expect(late.headers.get('payment-required')).toBeNull();
  expect(await readBooks(gateway)).toMatchObject({ balanced: true });
});
