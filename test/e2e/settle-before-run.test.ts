import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody, publishEcho, readAnswer, readBooks, submission } from './fixtures.ts';

let anvil: Anvil;
let database: TestDatabase;
let gateway: TestGateway;
let tool: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  [anvil, database] = await Promise.all([startAnvil({ log: silentLog }), createTestDatabase()]);
  gateway = await startTestGateway({ database, anvil });
  const pricing = { model: 'per_call', amount_mcents: 250, settle: 'before-run' };
  tool = await publishEcho(gateway, { pricing });
});
afterAll(async () => {
  await gateway?.close();
  await database?.close();
  await anvil?.close();
});

test('a tool that asks for it is paid before it runs, and a failure is credit on a refund key', async () => {
  const agent = await createAgent(anvil, 1);
  const failed = await agent.fetch(`${gateway.url}${tool.call}`, jsonBody({ tool: 'fail', arguments: {} }));
  expect(failed.status).toBe(502);
  expect(await agent.owns()).toBe(1_000_000n - 2_500n);
  const { refund_key } = await readAnswer(failed);
  const headers = { authorization: `Bearer ${refund_key}` };
  const balance = await gateway.fetch('/v1/balance', { headers });
  expect(await readAnswer(balance)).toMatchObject({ balance_mcents: 250 });
  const again = jsonBody({ tool: 'echo', arguments: { text: 'x' } }, headers);
  expect(await readAnswer(await gateway.fetch(tool.call, again))).toMatchObject({ charged_mcents: 250 });
  expect(await readBooks(gateway)).toMatchObject({ balanced: true });
});

test('a delivered call is the same to its payer as ever', async () => {
  const agent = await createAgent(anvil, 1);
  const echo = jsonBody({ tool: 'echo', arguments: { text: 'hello' } });
  const answer = await readAnswer(await agent.fetch(`${gateway.url}${tool.call}`, echo));
  expect(answer).toMatchObject({ ok: true, charged_mcents: 250 });
  expect(await agent.owns()).toBe(1_000_000n - 2_500n);
});

test('the listing says so, and a wish that does not exist is refused with its field', async () => {
  const listing = await gateway.fetch(`/mcp/${encodeURIComponent(tool.name)}`);
  expect(JSON.stringify(await listing.json())).toContain('"settle":"before-run"');
  const pricing = { model: 'per_call', amount_mcents: 1, settle: 'whenever' };
  const key = await gateway.mint(0, ['publish']);
  const body = jsonBody(submission('wishes/echo', { pricing }), { authorization: `Bearer ${key}` });
  const refused = await gateway.fetch('/mcp', body);
  expect(refused.status).toBe(422);
  expect((await readAnswer(refused)).detail).toContain('settle');
});
