import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Rails } from '../../scripts/dev/rails.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { startTestRails } from '../harness/rails.ts';
import { jsonBody, publishEcho, readAnswer, readBooks, submission } from './fixtures.ts';
import { bearer, expectFreeProblem } from './surface.ts';

let rails: Rails;
let database: TestDatabase;
let gateway: TestGateway;

beforeAll(async () => {
  [rails, database] = await Promise.all([startTestRails(), createTestDatabase()]);
  gateway = await startTestGateway({ database, env: rails.environment });
}, 60_000);
afterAll(async () => {
  await gateway?.close();
  await Promise.all([database?.close(), rails?.close()]);
});

type Echo = Awaited<ReturnType<typeof publishEcho>>;

async function readHash({ id }: Echo): Promise<string> {
  return ((await (await gateway.fetch(`/mcp/${id}`)).json()) as { tools_hash: string }).tools_hash;
}

async function changeTools(server: Echo): Promise<void> {
  const { files } = submission(server.name) as { files: { 'server.py': string } };
  const code = files['server.py'].replaceAll('"text"', '"words"');
  const next = submission(server.name, { version: '2.0.0', files: { 'server.py': code } });
  const put = { ...jsonBody(next, bearer(server.key)), method: 'PUT' };
  expect((await gateway.fetch(`/mcp/${server.id}`, put)).status).toBe(201);
}

/** The L402 challenge of a call, with the invoice that pays it. */
async function challenge(server: Echo, request: RequestInit): Promise<{ token: string; invoice: string }> {
  const response = await gateway.fetch(server.call, request);
  expect(response.status).toBe(402);
  const said = response.headers.get('www-authenticate') ?? '';
  const [, token = ''] = /L402 (?:.*?)(?:macaroon|token)="([^"]+)"/.exec(said) ?? [];
  const [, invoice = ''] = /L402 .*?invoice="([^"]+)"/.exec(said) ?? [];
  expect([token, invoice], said).not.toContain('');
  return { token, invoice };
}

async function pay(invoice: string): Promise<string> {
  const response = await fetch(rails.lightning.payUrl, jsonBody({ invoice }));
  const { preimage, error } = (await response.json()) as { preimage?: string; error?: string };
  if (preimage === undefined) throw new Error(error);
  return preimage;
}

const CALL = { tool: 'echo', arguments: { text: 'hi' } };

test('an invoice that was paid for the tools expected is answered by them, though they changed before it was paid', async () => {
  const server = await publishEcho(gateway);
  const expecting = { 'expect-tools-hash': await readHash(server) };
  const { token, invoice } = await challenge(server, jsonBody(CALL, expecting));
  await changeTools(server);
  // Whoever has not paid yet is told before an invoice is.
  await expectFreeProblem(await gateway.fetch(server.call, jsonBody(CALL, expecting)), 412, 'tools-changed');

  const authorization = `L402 ${token}:${await pay(invoice)}`;
  const request = jsonBody(CALL, { ...expecting, authorization });
  const answer = await readAnswer(await gateway.fetch(server.call, request));
  expect(answer).toMatchObject({
    ...{ ok: true, charged_mcents: 250 },
    result: { structuredContent: { text: 'hi' } },
  });
  expect(await readAnswer(await gateway.fetch(server.call, request))).toEqual(answer);
  expect(await readBooks(gateway)).toMatchObject({ balanced: true });
});

test('a paid request with the same condition is answered as one without', async () => {
  const server = await publishEcho(gateway);
  const expecting = { 'expect-tools-hash': await readHash(server) };
  const { token, invoice } = await challenge(server, jsonBody(CALL));
  const authorization = `L402 ${token}:${await pay(invoice)}`;
  const request = jsonBody(CALL, { ...expecting, authorization });
  expect(await readAnswer(await gateway.fetch(server.call, request))).toMatchObject({ charged_mcents: 250 });
});
