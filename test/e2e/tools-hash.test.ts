import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256Hex } from '../../src/core/bytes.ts';
import { canonicalJson } from '../../src/core/canonical-json.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody, publishEcho, submission } from './fixtures.ts';
import { ask, askStateless, shakeHands } from './mcp-fixtures.ts';
import { callInSession, callStateless } from './mcp-payment-fixtures.ts';
import { balanceOf, bearer, expectFreeProblem, type Surface, startSurface } from './surface.ts';

type Tool = Record<string, unknown> & { name: string; _meta?: Record<string, unknown> };
type Listing = { tools_hash: string; version: string; tools: Tool[] };

const OTHER = `sha256:${'0'.repeat(64)}`;

let surface: Surface;
let gateway: TestGateway;

beforeAll(async () => {
  surface = await startSurface();
  gateway = surface.gateway;
});
afterAll(() => surface.close());

async function readListing(id: string): Promise<Listing> {
  return (await (await gateway.fetch(`/mcp/${encodeURIComponent(id)}`)).json()) as Listing;
}

/** A new version whose `echo` takes words in place of a text: another contract under the same name. */
async function changeTools(server: { id: string; name: string; key: string }): Promise<void> {
  const { files } = submission(server.name) as { files: { 'server.py': string } };
  const code = files['server.py'].replaceAll('"text"', '"words"');
  const next = submission(server.name, { version: '2.0.0', files: { 'server.py': code } });
  const put = { ...jsonBody(next, bearer(server.key)), method: 'PUT' };
  expect((await gateway.fetch(`/mcp/${server.id}`, put)).status).toBe(201);
}

/** A server whose tools changed since its caller looked at them. */
async function publishChanged() {
  const server = await publishEcho(gateway);
  const { tools_hash: known } = await readListing(server.id);
  await changeTools(server);
  const { tools_hash: current } = await readListing(server.id);
  expect(current).not.toBe(known);
  return { ...server, known, current };
}

async function expectToolsChanged(response: Response, expected: string, current: string): Promise<void> {
  for (const name of ['payment-required', 'www-authenticate', 'x-payment-response']) {
    expect(response.headers.has(name), name).toBe(false);
  }
  expect(await expectFreeProblem(response, 412, 'tools-changed')).toMatchObject({
    ...{ expected, tools_hash: current, version: '2.0.0' },
    title: 'The tools are not what the caller expects',
  });
}

test('the hash that the listing tells is that of the tools as their server lists them, on every door', async () => {
  const server = await publishEcho(gateway);
  const listing = await readListing(server.id);
  const logged = listing.tools.map(({ price_mcents: _, ...tool }) => tool);
  expect(listing.tools_hash).toBe(`sha256:${sha256Hex(canonicalJson(logged))}`);
  const path = `/mcp/${server.id}`;
  for (const listed of [
    await ask(gateway, path, 'tools/list', {}, await shakeHands(gateway, path)),
    await askStateless(gateway, path, 'tools/list'),
  ]) {
    expect(listed.body.result?._meta).toMatchObject({
      'millicent/tools-hash': listing.tools_hash,
      'millicent/version': '1.0.0',
    });
  }
});

test('a call that expects the tools that are there is sold as ever, by header and by body', async () => {
  const server = await publishEcho(gateway);
  const { tools_hash: hash } = await readListing(server.id);
  const call = { tool: 'random' };
  const key = await gateway.mint(1_000);
  const said = [
    jsonBody(call, { ...bearer(key), 'expect-tools-hash': hash }),
    jsonBody({ ...call, expect_tools_hash: hash }, bearer(key)),
    jsonBody({ ...call, 'expect-tools-hash': hash }, { ...bearer(key), 'expect-tools-hash': hash }),
  ];
  for (const request of said) expect((await gateway.fetch(server.call, request)).status).toBe(200);
  expect(await balanceOf(gateway, key)).toBe(850);
  // And whoever has not paid is asked to.
  const unpaid = await gateway.fetch(server.call, jsonBody(call, { 'expect-tools-hash': hash }));
  expect(unpaid.status).toBe(402);
});

test('changed tools refuse the call before any payment talk, whatever pays and wherever it is said', async () => {
  const { call, known, current } = await publishChanged();
  const key = await gateway.mint(1_000);
  const request = { tool: 'echo', arguments: { text: 'hi' } };
  const agent = await createAgent(surface.anvil);
  const owned = await agent.owns();
  const paid = await agent.sign(await gateway.fetch(call, jsonBody({ tool: 'random' })));
  const bodies = [{ expect_tools_hash: known }, { 'expect-tools-hash': known }];
  const carried: Record<string, string>[] = [
    {},
    bearer(key),
    paid,
    { ...bearer(key), 'idempotency-key': 'i' },
  ];
  for (const headers of [...carried, { 'accept-payment': 'x402, evm/charge' }]) {
    const byHeader = jsonBody(request, { ...headers, 'expect-tools-hash': known });
    await expectToolsChanged(await gateway.fetch(call, byHeader), known, current);
    for (const body of bodies) {
      const byBody = jsonBody({ ...request, ...body }, headers);
      await expectToolsChanged(await gateway.fetch(call, byBody), known, current);
    }
  }
  // A tool that is gone, or arguments that fit no more, are the same news.
  const gone = jsonBody({ tool: 'renamed' }, { 'expect-tools-hash': known });
  await expectToolsChanged(await gateway.fetch(call, gone), known, current);
  expect(await balanceOf(gateway, key)).toBe(1_000);
  expect(await agent.owns()).toBe(owned);
});

test('the version that the caller knows can still be pinned, with the tools that it had', async () => {
  const { call, known } = await publishChanged();
  const key = await gateway.mint(1_000);
  const pinned = { tool: 'echo', arguments: { text: 'hi' }, version: '1.0.0', expect_tools_hash: known };
  expect((await gateway.fetch(call, jsonBody(pinned, bearer(key)))).status).toBe(200);
});

test('over MCP the refusal is a result without a challenge in it, in both eras, and costs nothing', async () => {
  const { id, known, current } = await publishChanged();
  const key = await gateway.mint(1_000);
  const meta = { 'millicent/expect-tools-hash': known };
  for (const call of [callInSession, callStateless]) {
    for (const headers of [{}, bearer(key), { 'accept-payment': 'x402' }] as Record<string, string>[]) {
      for (const tool of ['echo', 'renamed']) {
        const answer = await call(gateway, id, { tool, meta, headers });
        expect(answer.status, answer.text).toBe(200);
        expect(answer.text).not.toMatch(/x402Version|accepts|org\.paymentauth|challenge/);
        expect(answer.result).toMatchObject({ isError: true });
        expect(answer.result?._meta?.['millicent/problem']).toMatchObject({
          ...{ status: 412, note: 'no charge applied', expected: known, tools_hash: current },
          type: expect.stringMatching(/\/tools-changed$/),
        });
      }
    }
    const right = { meta: { 'millicent/expect-tools-hash': current }, args: { words: 'hi' } };
    const paid = await call(gateway, id, { ...right, headers: bearer(key) });
    expect(paid.result, paid.text).toMatchObject({ structuredContent: { words: 'hi' } });
    const unreadable = await call(gateway, id, { meta: { 'millicent/expect-tools-hash': 'sha256:zz' } });
    expect(unreadable.error).toMatchObject({ code: -32602 });
  }
  expect(await balanceOf(gateway, key)).toBe(500);
});

test("the marketplace's call_tool takes the same condition, and its own tools are pinned as well", async () => {
  const { id, known, current } = await publishChanged();
  const key = await gateway.mint(1_000);
  const callTool = async (expected: string, args: object, outer: Record<string, string> = {}) => {
    const given = { server: id, tool: 'echo', arguments: args, expect_tools_hash: expected };
    const body = { tool: 'call_tool', arguments: given };
    return gateway.fetch('/invoke/millicent', jsonBody(body, { ...bearer(key), ...outer }));
  };
  await expectToolsChanged(await callTool(known, { text: 'hi' }), known, current);
  expect((await callTool(current, { words: 'hi' })).status).toBe(200);
  expect(await balanceOf(gateway, key)).toBe(750);
  const { tools_hash: own } = await readListing('millicent');
  expect((await callTool(current, { words: 'hi' }, { 'expect-tools-hash': own })).status).toBe(200);
  const refused = await callTool(current, { words: 'hi' }, { 'expect-tools-hash': OTHER });
  await expectFreeProblem(refused, 412, 'tools-changed');
  expect((await callTool('sha256:zz', {})).status).toBe(422);
  expect(await balanceOf(gateway, key)).toBe(500);
});

test('a condition that cannot be read, or that is said in two ways, is refused uncharged', async () => {
  const server = await publishEcho(gateway);
  const { tools_hash: hash } = await readListing(server.id);
  const key = await gateway.mint(1_000);
  const wrong = ['', 'zz', hash.slice(7), hash.toUpperCase(), `${hash}0`, `sha512:${hash.slice(7)}`];
  for (const said of wrong) {
    const byBody = jsonBody({ tool: 'random', expect_tools_hash: said }, bearer(key));
    await expectFreeProblem(await gateway.fetch(server.call, byBody), 400, 'malformed-request');
    if (said === '') continue;
    const byHeader = jsonBody({ tool: 'random' }, { ...bearer(key), 'expect-tools-hash': said });
    await expectFreeProblem(await gateway.fetch(server.call, byHeader), 400, 'malformed-request');
  }
  const two = jsonBody(
    { tool: 'random', expect_tools_hash: hash },
    { ...bearer(key), 'expect-tools-hash': OTHER },
  );
  await expectFreeProblem(await gateway.fetch(server.call, two), 400, 'malformed-request');
  expect(await balanceOf(gateway, key)).toBe(1_000);
});

test('what was paid for under a condition is answered again after the tools changed, and is paid once', async () => {
  const server = await publishEcho(gateway);
  const { tools_hash: hash } = await readListing(server.id);
  const agent = await createAgent(surface.anvil);
  const expecting = { 'expect-tools-hash': hash };
  const request = { tool: 'echo', arguments: { text: 'before' } };
  const challenge = await gateway.fetch(server.call, jsonBody(request, expecting));
  const paying = jsonBody(request, { ...expecting, ...(await agent.sign(challenge)) });
  const first = await gateway.fetch(server.call, paying);
  expect(first.status).toBe(200);
  const body = await first.json();
  const key = await gateway.mint(1_000);
  const keyed = jsonBody(request, { ...expecting, ...bearer(key), 'idempotency-key': 'once' });
  expect((await gateway.fetch(server.call, keyed)).status).toBe(200);
  const owned = await agent.owns();

  await changeTools(server);
  const again = await gateway.fetch(server.call, paying);
  expect(again.status).toBe(200);
  expect(await again.json()).toEqual(body);
  expect((await gateway.fetch(server.call, keyed)).status).toBe(200);
  expect(await agent.owns()).toBe(owned);
  expect(await balanceOf(gateway, key)).toBe(750);
});
