import { afterAll, beforeAll, expect, test } from 'vitest';
import { withTransaction } from '../../src/db/index.ts';
import { startEndpoint, type TestEndpoint } from '../execution/remote-harness.ts';
import { waitUntil } from '../harness/process.ts';
import { createAgent, jsonBody, publishEcho, submission } from './fixtures.ts';
import { ask, askStateless } from './mcp-fixtures.ts';
import { balanceOf, bearer, expectProblem, type Surface, startSurface } from './surface.ts';

/** The marketplace's tools for who means no good. */

let surface: Surface;
let echo: Awaited<ReturnType<typeof publishEcho>>;
let other: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  surface = await startSurface({ REMOTE_ALLOW_LOOPBACK: 'yes' });
  echo = await publishEcho(surface.gateway);
  other = await publishEcho(surface.gateway);
});
afterAll(() => surface.close());

type Called = { isError?: boolean; structuredContent?: Record<string, unknown>; _meta?: object };

async function use(
  tool: string,
  given: object,
  headers: Record<string, string> = {},
  meta: object = {},
): Promise<Called> {
  const params = { name: tool, arguments: given, _meta: meta };
  const { body } = await ask(surface.gateway, '/mcp/millicent', 'tools/call', params, headers);
  return (body.result ?? body) as Called;
}

const statusOf = ({ _meta }: Called) =>
  (_meta as { 'millicent/problem'?: { status: number } } | undefined)?.['millicent/problem']?.status;

test('through call_tool a child key calls what its list names, within its caps, and nothing else', async () => {
  const parent = await surface.gateway.mint(10_000);
  const response = await surface.gateway.fetch(
    '/v1/keys',
    jsonBody({ tools: [`${echo.name}/random`], caps: { total_mcents: 50 } }, bearer(parent)),
  );
  const made = (await response.json()) as { key: string };
  expect(response.status, JSON.stringify(made)).toBe(200);
  const child = bearer(made.key);
  const buy = (server: string, tool: string) => use('call_tool', { server, tool }, child);
  expect(statusOf(await buy(other.name, 'random'))).toBe(403);
  expect(statusOf(await buy(echo.name, 'gratis'))).toBe(403);
  expect(await buy(echo.name, 'random')).toMatchObject({ structuredContent: { charged_mcents: 50 } });
  expect((await buy(echo.name, 'random')).isError).toBe(true);
  expect(await balanceOf(surface.gateway, parent)).toBe(9_950);
});

test('a key that may only read buys nothing through call_tool', async () => {
  const key = bearer(await surface.gateway.mint(1_000, ['read']));
  const given = { server: echo.name, tool: 'random' };
  expect(statusOf(await use('call_tool', given, key))).toBe(403);
  const invoked = await surface.gateway.fetch(
    '/invoke/millicent',
    jsonBody({ tool: 'call_tool', arguments: given }, key),
  );
  await expectProblem(invoked, 403, 'forbidden');
});

test('the marketplace cannot be called inside itself, by name, by id or by a version of it', async () => {
  const key = bearer(await surface.gateway.mint(1_000));
  const listing = await surface.gateway.fetch('/mcp/millicent');
  const { id, version } = (await listing.json()) as { id: string; version: string };
  const inner = { tool: 'call_tool', arguments: { server: echo.name, tool: 'random' } };
  for (const given of [{ server: 'millicent' }, { server: id }, { server: 'millicent', version }]) {
    expect(statusOf(await use('call_tool', { ...inner, ...given }, key))).toBe(422);
  }
});

test('a payment that comes with a tool of the marketplace is not taken', async () => {
  const agent = await createAgent(surface.anvil);
  const unpaid = await surface.gateway.fetch(echo.call, jsonBody({ tool: 'random' }));
  const paying = await agent.sign(unpaid);
  const owned = await agent.owns();
  const key = bearer(await surface.gateway.mint(50));
  const given = { server: echo.name, tool: 'random' };
  expect(await use('call_tool', given, { ...paying, ...key })).toMatchObject({
    structuredContent: { charged_mcents: 50 },
  });
  expect(await agent.owns()).toBe(owned);
});

test('a self-hosted version is verified by what it is: the endpoint that was logged', async () => {
  const endpoint = await startListed();
  try {
    const { name } = await publishOwn(endpoint, 'verified');
    expect(await use('verify_version', { server: name })).toMatchObject({
      structuredContent: { verified: true, checks: Array(4).fill({ ok: true }) },
    });
  } finally {
    await endpoint.close();
  }
});

test('few versions are verified at a time, and one only once for all who ask meanwhile', async () => {
  const more = [await publishEcho(surface.gateway), await publishEcho(surface.gateway)];
  const names = [echo, other, ...more].map(({ name }) => name);
  const verify = (name: string) => use('verify_version', { server: name });
  const [waiting, refused] = await withTransaction(surface.database.sql, async (tx) => {
    await tx`LOCK TABLE log_entry IN ACCESS EXCLUSIVE MODE`;
    const asked = [...names, ...names, ...names].map(verify);
    await waitUntil(async () => {
      const [row] = await tx`SELECT count(*)::int AS n FROM pg_locks WHERE NOT granted`;
      return Number(row?.n) >= names.length;
    });
    return [asked, statusOf(await verify('millicent'))] as const;
  });
  expect(refused).toBe(429);
  const verdicts = await Promise.all(waiting);
  expect(verdicts.every(({ structuredContent }) => structuredContent?.verified === true)).toBe(true);
  expect(await verify('millicent')).toMatchObject({ structuredContent: { verified: true } });
});

test('arguments and names that no JSON Schema foresaw are refused and never break', async () => {
  const odd = ['__proto__', 'constructor', 'toString', '\ud800', '../millicent', 'a'.repeat(10_000)];
  for (const name of odd) {
    for (const post of [ask, askStateless]) {
      const params = { name, arguments: JSON.parse('{"__proto__":{"a":1}}') };
      const headers = /^[\x20-\x7e]*$/.test(name) ? {} : { 'mcp-name': `=?base64?${btoa('x')}?=` };
      const { status, body } = await post(surface.gateway, '/mcp/millicent', 'tools/call', params, headers);
      expect([status < 500, body.error?.code ?? 0], JSON.stringify(body)).toEqual([true, expect.any(Number)]);
      expect(body.error?.code).not.toBe(-32603);
    }
  }
  const given = { server: echo.name, tool: '__proto__', arguments: JSON.parse('{"__proto__":1}') };
  const key = bearer(await surface.gateway.mint(100));
  expect(statusOf(await use('call_tool', given, key))).toBe(422);
  expect(statusOf(await use('search_mcps', { q: '\ud800%_\\\u0000' }))).not.toBe(500);
  expect(statusOf(await use('get_mcp', { server: '\u0000' }))).not.toBe(500);
  expect(statusOf(await use('call_tool', { server: '\ud800', tool: 'x\u0000' }, key))).not.toBe(500);
  expect(statusOf(await use('get_receipt', { receipt_id: '\u0000' }))).toBe(422);
});

/** A publisher's own server, as small as one can be. */
async function startListed(): Promise<TestEndpoint & { prove(path: string, text: string): void }> {
  const proofs = new Map<string, string>();
  const endpoint = await startEndpoint((request, response, body) => {
    if (request.method === 'GET') return void response.end(proofs.get(request.url ?? '') ?? '');
    const { id, method, params } = JSON.parse(body === '' ? '{}' : body);
    if (id === undefined) return void response.writeHead(202).end();
    const tools = [{ name: 'echo', inputSchema: { type: 'object' } }];
    const result: Record<string, object> = {
      initialize: {
        protocolVersion: params?.protocolVersion ?? '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 'own', version: '1' },
      },
      'tools/list': { tools },
    };
    const said = result[method];
    const answer = said ? { result: said } : { error: { code: -32601, message: 'not known here' } };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer }));
  });
  return { ...endpoint, prove: (path, text) => void proofs.set(path, text) };
}

async function publishOwn(endpoint: Awaited<ReturnType<typeof startListed>>, label: string) {
  const name = `${label}-${process.pid}/tool`;
  const key = await surface.gateway.mint(0, ['publish', 'read']);
  const { files: _, entrypoint: __, language: ___, ...rest } = submission(name);
  const pricing = { model: 'per_call', amount_mcents: 100 };
  const body = { ...rest, tier: 'pro', endpoint_url: endpoint.url, pricing };
  const post = () => surface.gateway.fetch('/mcp', jsonBody(body, bearer(key)));
  const { challenge } = await expectProblem(await post(), 403, 'forbidden');
  const { url, body: text } = challenge as { url: string; body: string };
  endpoint.prove(new URL(url).pathname, text);
  expect((await post()).status).toBe(201);
  return { name };
}
