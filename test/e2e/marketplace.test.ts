import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { withTransaction } from '../../src/db/index.ts';
import { jsonBody, publishEcho } from './fixtures.ts';
import { balanceOf, bearer, expectProblem, readBody, type Surface, startSurface, times } from './surface.ts';

/** The marketplace's own server, as any MCP client meets it. */

let surface: Surface;
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  surface = await startSurface();
  echo = await publishEcho(surface.gateway);
});
afterAll(() => surface.close());

async function connect(key?: string): Promise<Client> {
  const client = new Client({ name: 'agent', version: '1' });
  const headers = key === undefined ? {} : bearer(key);
  const url = new URL(`${surface.gateway.url}/mcp/millicent`);
  // The SDK's own types are not exact about optional members.
  await client.connect(
    new StreamableHTTPClientTransport(url, { requestInit: { headers } }) as unknown as Parameters<
      Client['connect']
    >[0],
  );
  return client;
}

const answerSchema = z.looseObject({
  isError: z.boolean().optional(),
  structuredContent: z.record(z.string(), z.unknown()).optional(),
});

async function call(client: Client, name: string, given: Record<string, unknown>) {
  return answerSchema.parse(await client.callTool({ name, arguments: given }));
}

test('an agent finds a tool, asks its price, calls it, and holds a receipt of verified code, all over MCP', async () => {
  const key = await surface.gateway.mint(10_000);
  const client = await connect(key);
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name).sort()).toEqual([
    'call_tool',
    'get_mcp',
    'get_price',
    'get_receipt',
    'search_mcps',
    'verify_version',
  ]);
  const found = await call(client, 'search_mcps', { q: echo.name.split('/')[0] });
  expect(found.structuredContent).toMatchObject({ servers: [{ name: echo.name }] });
  const listing = await call(client, 'get_mcp', { server: echo.name });
  expect(listing.structuredContent).toMatchObject({ id: echo.id, code_hash: echo.body.code_hash });
  const price = await call(client, 'get_price', { server: echo.name, tool: 'echo' });
  expect(price.structuredContent).toMatchObject({ price_mcents: 250, price_usd: '$0.0025' });
  const bought = await call(client, 'call_tool', {
    ...{ server: echo.name, tool: 'echo', arguments: { text: 'bought' } },
  });
  expect(bought.structuredContent).toMatchObject({
    ...{ charged_mcents: 250, balance_mcents: 9_750 },
    result: { structuredContent: { text: 'bought' } },
  });
  expect(await balanceOf(surface.gateway, key)).toBe(9_750);
  const receipt = await call(client, 'get_receipt', { receipt_id: bought.structuredContent?.receipt_id });
  expect(receipt.structuredContent).toMatchObject({ receipt: expect.any(Object), jws: expect.any(String) });
  const verdict = await call(client, 'verify_version', { server: echo.name });
  expect(verdict.structuredContent).toMatchObject({ verified: true });
  await client.close();
});

test('a call without a key, of an unknown tool or with wrong arguments pays nothing and says why', async () => {
  const stranger = await connect();
  const unpaid = await call(stranger, 'call_tool', { server: echo.name, tool: 'echo', arguments: {} }).catch(
    (error: Error) => error,
  );
  expect(JSON.stringify(unpaid instanceof Error ? unpaid.message : unpaid)).toMatch(/bearer key/);
  await stranger.close();
  const key = await surface.gateway.mint(1_000);
  const client = await connect(key);
  for (const given of [
    { server: 'nobody/nothing', tool: 'echo' },
    { server: echo.name, tool: 'nothing' },
    { server: echo.name, tool: 'echo', arguments: { text: 7 } },
    { server: echo.name, tool: 'fail' },
    { server: 'millicent', tool: 'call_tool', arguments: {} },
    { server: echo.name, tool: 'echo', arguments: { text: 'x' }, more: true },
  ]) {
    expect(await call(client, 'call_tool', given)).toMatchObject({ isError: true });
  }
  expect(await balanceOf(surface.gateway, key)).toBe(1_000);
  await client.close();
});

test('one idempotency key sent 20 times at once buys once', async () => {
  const key = await surface.gateway.mint(10_000);
  const client = await connect(key);
  const given = {
    ...{ server: echo.name, tool: 'echo', arguments: { text: 'once' }, idempotency_key: 'one-purchase' },
  };
  await Promise.all(times(20, () => call(client, 'call_tool', given)));
  expect(await balanceOf(surface.gateway, key)).toBe(9_750);
  expect(await call(client, 'call_tool', given)).toMatchObject({
    structuredContent: { result: { structuredContent: { text: 'once' } } },
  });
  await client.close();
});

test('the marketplace is listed, versioned and logged like every other server', async () => {
  const { gateway } = surface;
  const listing = await readBody(await gateway.fetch('/mcp/millicent'));
  expect(listing).toMatchObject({
    name: 'millicent',
    code_hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
  });
  const found = await readBody(await gateway.fetch('/mcp?q=marketplace'));
  expect(found.servers.map(({ name }) => name)).toContain('millicent');
  const client = await connect();
  expect(await call(client, 'verify_version', { server: 'millicent' })).toMatchObject({
    structuredContent: { verified: true, log_index: listing.log_index },
  });
  await client.close();
  const again = await surface.startAnother({});
  expect(await readBody(await again.fetch('/mcp/millicent'))).toMatchObject({ version: listing.version });
});

test('code that was changed behind the log is named so', async () => {
  const other = await publishEcho(surface.gateway, { files: { 'server.py': changedEcho() } });
  await withTransaction(surface.database.sql, async (tx) => {
    const sha256 = other.body.code_hash.slice('sha256:'.length);
    await tx`ALTER TABLE catalog_code DISABLE TRIGGER catalog_code_append_only`;
    await tx`UPDATE catalog_code SET archive = overlay(archive placing 'Z' from 600) WHERE sha256 = ${sha256}`;
    await tx`ALTER TABLE catalog_code ENABLE TRIGGER catalog_code_append_only`;
  });
  const second = await surface.startAnother({});
  const answer = await second.fetch(
    '/invoke/millicent',
    jsonBody({ tool: 'verify_version', arguments: { server: other.name } }),
  );
  expect(await answer.json()).toMatchObject({
    result: {
      structuredContent: {
        verified: false,
        checks: [{ ok: false }, { ok: true }, { ok: true }, { ok: true }],
      },
    },
  });
});

test('its tools also answer at /invoke/millicent, and its call_tool pays from the key', async () => {
  const { gateway } = surface;
  const key = await gateway.mint(1_000);
  const body = {
    tool: 'call_tool',
    arguments: { server: echo.id, tool: 'echo', arguments: { text: 'http' } },
  };
  const paid = await gateway.fetch('/invoke/millicent', jsonBody(body, bearer(key)));
  expect(await paid.json()).toMatchObject({
    ok: true,
    result: { structuredContent: { charged_mcents: 250, balance_mcents: 750 } },
  });
  await expectProblem(await gateway.fetch('/invoke/millicent', jsonBody(body)), 401, 'unauthorized');
});

test('a client that was refused learns what it has to show (RFC 9728)', async () => {
  const { gateway } = surface;
  for (const path of ['', `/mcp/${encodeURIComponent(echo.name)}`]) {
    const answer = await gateway.fetch(`/.well-known/oauth-protected-resource${path}`);
    expect(await answer.json()).toMatchObject({
      resource: `${gateway.url}${path}`,
      bearer_methods_supported: ['header'],
    });
  }
});

function changedEcho(): string {
  return `# Another edition.\n${readFileSync(new URL('servers/echo.py', import.meta.url), 'utf8')}`;
}
