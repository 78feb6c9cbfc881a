import { request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { jsonBody } from './fixtures.ts';
import { ask, askStateless, post, publishEverything, shakeHands } from './mcp-fixtures.ts';
import { balanceOf, bearer, type Surface, startSurface } from './surface.ts';

let surface: Surface;
let gateway: TestGateway;
let server: Awaited<ReturnType<typeof publishEverything>>;
let path: string;

beforeAll(async () => {
  surface = await startSurface({ SANDBOX_QUEUE: '512' });
  gateway = surface.gateway;
  server = await publishEverything(gateway);
  ({ path } = server);
});
afterAll(() => surface.close());

const STREAMING = { accept: 'application/json, text/event-stream' };
const JSON_ONLY = { accept: 'application/json' };
const callOf = (name: string, input: object = {}, meta?: object) => ({
  ...{ name, arguments: input },
  ...(meta ? { _meta: meta } : {}),
});
const firstText = ({ body }: Awaited<ReturnType<typeof ask>>) => body.result?.content?.[0]?.text;

// Handshake and sessions

test('initialize answers in the revision asked for, or in our newest, with what the version said of itself', async () => {
  const asked = { capabilities: {}, clientInfo: { name: 'tests', version: '1' } };
  for (const [protocolVersion, spoken] of [
    ['2025-11-25', '2025-11-25'],
    ['2025-06-18', '2025-06-18'],
    ['2025-03-26', '2025-03-26'],
    ['2024-11-05', '2024-11-05'],
    ['2023-01-01', '2025-11-25'],
  ]) {
    const { status, headers, body } = await ask(gateway, path, 'initialize', { ...asked, protocolVersion });
    expect(status).toBe(200);
    expect(headers.get('mcp-session-id')).toMatch(/^m1\.[\w-]+$/);
    expect(body.result).toMatchObject({
      protocolVersion: spoken,
      serverInfo: { name: 'everything', version: '1.0.0' },
      capabilities: { tools: {}, resources: { subscribe: true }, prompts: {}, completions: {}, logging: {} },
      instructions: 'Everything, for tests.',
      _meta: { 'millicent/gateway': { name: 'millicent', server: server.name, serves: '1.0.0' } },
    });
  }
  const { body } = await ask(gateway, path, 'initialize', {});
  expect(body.error?.code).toBe(-32602);
});

test('a session begun at one gateway is known at another, and a forged one at none', async () => {
  const another = await surface.startAnother({});
  const session = await shakeHands(gateway, path, { sampling: {} });
  expect((await ask(another, path, 'ping', {}, session)).body.result).toEqual({});
  const id = session['mcp-session-id'] ?? '';
  for (const forged of [`${id.slice(0, -4)}AAAA`, 'm1.', 'somebody-elses', id.slice(3)]) {
    const { status, body } = await ask(gateway, path, 'ping', {}, { ...session, 'mcp-session-id': forged });
    expect([status, body.error?.code]).toEqual([404, -32001]);
  }
});

test('a request without a session is served, as from a client that can be asked for nothing', async () => {
  expect((await ask(gateway, path, 'tools/list')).body.result?.tools).toHaveLength(28);
  const refused = await ask(gateway, path, 'tools/call', callOf('test_roots'));
  expect(refused.body.result).toMatchObject({ isError: true });
  const capable = await shakeHands(gateway, path, { elicitation: {} });
  const alsoRefused = await ask(gateway, path, 'tools/call', callOf('test_roots'), capable);
  expect(alsoRefused.body.result).toMatchObject({ isError: true });
});

test('there is no stream to open and no session to end', async () => {
  for (const [method, headers] of [
    ['GET', { accept: 'text/event-stream' }],
    ['DELETE', {}],
  ] as const) {
    const response = await gateway.fetch(path, { method, headers });
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, PUT, POST']);
  }
});

test('what needs no answer is taken with 202, also the answer to a question that nobody asked', async () => {
  const session = await shakeHands(gateway, path);
  for (const message of [
    { method: 'notifications/initialized' },
    { method: 'notifications/cancelled', params: { requestId: 'unknown' } },
    { method: 'notifications/roots/list_changed' },
    { id: 'ask-guessed', result: { roots: [] } },
    { id: 'ask-guessed', error: { code: -1, message: 'no' } },
  ]) {
    const { status, body } = await post(gateway, path, message, session);
    expect([status, body]).toEqual([202, undefined]);
  }
});

// What is refused before it is answered

test('what cannot be read is refused by HTTP and by JSON-RPC', async () => {
  const request = { jsonrpc: '2.0', id: 7, method: 'ping' };
  const deep = `${'['.repeat(100)}${']'.repeat(100)}`;
  for (const [body, status, code] of [
    ['{"jsonrpc":', 400, -32700],
    [JSON.stringify([request]), 400, -32600],
    [JSON.stringify({ ...request, jsonrpc: '1.0' }), 400, -32600],
    [`{"jsonrpc":"2.0","id":7,"method":"ping","params":{"deep":${deep}}}`, 400, -32700],
    [JSON.stringify({ ...request, params: { long: 'x'.repeat(1024 * 1024) } }), 413, -32600],
  ] as const) {
    const headers = { 'content-type': 'application/json', ...STREAMING };
    const response = await gateway.fetch(path, { method: 'POST', body, headers });
    const answer = JSON.parse(await response.text());
    expect([response.status, answer.error?.code]).toEqual([status, code]);
  }
  const typed = await gateway.fetch(path, {
    ...{ method: 'POST', body: JSON.stringify(request) },
    headers: { 'content-type': 'text/plain' },
  });
  expect(typed.status).toBe(415);
});

test('a page that reached us by a name of its own is refused; any page that knows ours is served', async () => {
  const { host, hostname, port } = new URL(gateway.url);
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
  const send = (headers: Record<string, string>) =>
    new Promise<number | undefined>((done, fail) => {
      const options = { hostname, port, path, method: 'POST' };
      const sent = request({ ...options, headers: { 'content-type': 'application/json', ...headers } });
      sent.on('response', (response) => {
        response.resume();
        done(response.statusCode);
      });
      sent.on('error', fail);
      sent.end(body);
    });
  expect(await send({ host: 'evil.example.com', origin: 'http://evil.example.com' })).toBe(403);
  expect(await send({ host: 'evil.example.com:80', origin: 'null' })).toBe(403);
  expect(await send({ host, origin: 'not an origin' })).toBe(403);
  expect(await send({ host, origin: 'https://anybody.example' })).toBe(200);
  expect(await send({ host: `localhost:${port}`, origin: `http://localhost:${port}` })).toBe(200);
  expect(await send({ host: `[::1]:${port}`, origin: `http://[::1]:${port}` })).toBe(200);
  // No browser sent this one: nothing made it come here but its sender.
  expect(await send({ host: 'internal.example' })).toBe(200);
});

test('a bad key is told by HTTP where to learn what a good one is', async () => {
  const { status, headers } = await ask(gateway, path, 'tools/list', {}, bearer('mcp_wrong'));
  expect(status).toBe(401);
  const [, metadata] =
    /^Bearer error="invalid_token", resource_metadata="(.+)"$/.exec(headers.get('www-authenticate') ?? '') ??
    [];
  const described = await fetch(metadata ?? '');
  expect(await described.json()).toMatchObject({ resource: `${gateway.url}${path}` });
});

test('a server that is not there is 404, and so is a version that it never had', async () => {
  for (const missing of ['/mcp/nobody%2Fnothing', `${path}?version=9.9.9`]) {
    const { status, body } = await ask(gateway, missing, 'tools/list');
    expect([status, body.error?.code]).toEqual([404, -32000]);
  }
  const pinned = { _meta: { 'millicent/version': '9.9.9' } };
  expect((await ask(gateway, path, 'tools/list', pinned)).status).toBe(404);
  expect((await ask(gateway, `${path}?version=1.0.0`, 'tools/list')).status).toBe(200);
});

test('a method that the server does not have is not found, in HTTP too from 2026-07-28 on', async () => {
  const older = await ask(gateway, path, 'tasks/list');
  expect([older.status, older.body.error?.code]).toEqual([200, -32601]);
  for (const method of ['ping', 'initialize', 'logging/setLevel', 'resources/subscribe', 'constructor']) {
    const { status, body } = await askStateless(gateway, path, method);
    expect([status, body.error?.code], method).toEqual([404, -32601]);
  }
  const plain = await publishEverything(gateway, { model: 'free' });
  expect((await ask(gateway, plain.path, 'server/discover')).body.error?.code).toBe(-32601);
});

// Tools

test('tools/list tells the price of each tool', async () => {
  const { body } = await ask(gateway, path, 'tools/list');
  const tools = body.result?.tools as { name: string; _meta: Record<string, unknown> }[];
  const priceOf = (name: string) =>
    JSON.stringify(tools.find((tool) => tool.name === name)?._meta['millicent/price']);
  expect(priceOf('echo')).toContain('250');
  expect(priceOf('test_simple_text')).not.toContain('250');
  expect((await ask(gateway, path, 'tools/list', { cursor: 'made-up' })).body.error?.code).toBe(-32602);
});

test('an unknown tool is a fault of the protocol; wrong arguments and failures are results that a model reads', async () => {
  const unknown = await ask(gateway, path, 'tools/call', callOf('nothing'));
  expect([unknown.status, unknown.body.error?.code]).toEqual([200, -32602]);
  const typed = await ask(gateway, path, 'tools/call', callOf('test_sampling', { prompt: 7 }));
  expect(typed.body.result).toMatchObject({
    isError: true,
    content: [{ text: expect.stringContaining('prompt') }],
    _meta: { 'millicent/problem': { status: 422, note: 'no charge applied' } },
  });
  const failed = await ask(gateway, path, 'tools/call', callOf('test_error_handling'));
  expect(failed.body.result).toMatchObject({
    isError: true,
    content: [{ text: expect.stringContaining('intentionally') }],
    _meta: { 'millicent/problem': { status: 502 } },
  });
});

test('an idempotency key works in a header and in _meta: one charge, one stored answer', async () => {
  const key = await gateway.mint(1_000);
  const call = callOf('echo', { text: 'once' });
  const inMeta = { ...call, _meta: { 'millicent/idempotency-key': 'same' } };
  const answers = [
    await ask(gateway, path, 'tools/call', inMeta, bearer(key)),
    await ask(gateway, path, 'tools/call', call, { ...bearer(key), 'idempotency-key': 'same' }),
  ];
  for (const { body } of answers) {
    expect(body.result).toMatchObject({ structuredContent: { text: 'once' } });
  }
  const receipts = answers.map(({ body }) => body.result?._meta?.['millicent/receipt-id']);
  expect(receipts[0]).toBe(receipts[1]);
  expect(await balanceOf(gateway, key)).toBe(750);
  const other = callOf('echo', { text: 'twice' }, { 'millicent/idempotency-key': 'same' });
  const conflict = await ask(gateway, path, 'tools/call', other, bearer(key));
  expect(conflict.body.result).toMatchObject({
    isError: true,
    _meta: { 'millicent/problem': { status: 409 } },
  });
});

test('without key or payment the answer is a result that asks for one, and HTTP 402 to who pays by HTTP', async () => {
  const { status, headers, body } = await ask(gateway, path, 'tools/call', callOf('echo'));
  expect(status).toBe(200);
  expect(headers.has('www-authenticate')).toBe(false);
  expect(body.result).toMatchObject({ isError: true, _meta: { 'x402/error': { accepts: [{}] } } });
  const byHttp = await ask(gateway, path, 'tools/call', callOf('echo'), { 'payment-signature': 'bm9uZQ==' });
  expect(byHttp.status).toBe(402);
  expect(byHttp.headers.has('payment-required')).toBe(true);
});

test('two different payments with one request are refused, and neither is taken', async () => {
  const meta = { 'x402/payment': { x402Version: 2, payload: { a: 1 } } };
  const two = { 'payment-signature': Buffer.from('{"payload":{"b":2}}').toString('base64') };
  const { body } = await ask(gateway, path, 'tools/call', callOf('echo', {}, meta), two);
  expect(body.error).toMatchObject({ code: -32602, message: expect.stringContaining('Two different') });
});

// Streams

test('an answer is plain JSON until a server says something before it, and always for who takes no stream', async () => {
  const wanted = { progressToken: 'p1' };
  const call = (
    meta: object | undefined,
    headers: Record<string, string>,
    name = 'test_tool_with_progress',
  ) => ask(gateway, path, 'tools/call', callOf(name, {}, meta), headers);
  const key = await gateway.mint(1_000);
  const typeOf = ({ headers }: Awaited<ReturnType<typeof call>>) => headers.get('content-type');
  const told = await call(wanted, bearer(key));
  expect(typeOf(told)).toBe('text/event-stream');
  expect(told.events.map(({ params }) => params?.progress)).toEqual([0, 50, 100]);
  expect(told.body.result).toMatchObject({ _meta: { 'millicent/charged-mcents': 250 } });
  for (const quiet of [
    await call(undefined, bearer(key)),
    await call(wanted, { ...bearer(key), ...JSON_ONLY }),
    await call(wanted, {}, 'test_simple_text'),
  ]) {
    expect(typeOf(quiet)).toBe('application/json');
    expect(quiet.body.result?.content).toHaveLength(1);
  }
  const only = await call(undefined, { accept: 'text/event-stream' }, 'test_simple_text');
  expect(typeOf(only)).toBe('text/event-stream');
  expect(firstText(only)).toContain('simple text');
});

test('a server logs as loud as its client wants, and not at all to a client of 2026-07-28 that did not ask', async () => {
  const session = await shakeHands(gateway, path);
  const log = async (headers: Record<string, string>) =>
    (await ask(gateway, path, 'tools/call', callOf('test_logging_tool'), headers)).events.length;
  expect(await log(session)).toBe(3);
  expect((await ask(gateway, path, 'logging/setLevel', { level: 'loud' }, session)).body.error?.code).toBe(
    -32602,
  );
  await ask(gateway, path, 'logging/setLevel', { level: 'error' }, session);
  expect(await log(session)).toBe(0);
  expect(await log(await shakeHands(gateway, path))).toBe(3);
  const stateless = (level?: string) =>
    askStateless(gateway, path, 'tools/call', {
      ...callOf('test_logging_tool'),
      ...(level ? { _meta: { 'io.modelcontextprotocol/logLevel': level } } : {}),
    });
  expect((await stateless()).events).toHaveLength(0);
  expect((await stateless('debug')).events).toHaveLength(3);
});

test('a free call stops when its client is gone or takes it back', async () => {
  const isIdle = () => gateway.deps.http.execution.load().running === 0;
  await expect.poll(isIdle, { timeout: 5_000 }).toBe(true);
  const session = await shakeHands(gateway, path);
  const headers = { ...session, ...STREAMING };
  const message = (id: string) => ({ jsonrpc: '2.0', id, method: 'tools/call', params: callOf('sleep') });
  const leaving = new AbortController();
  const left = gateway.fetch(path, { ...jsonBody(message('left'), headers), signal: leaving.signal });
  await expect.poll(isIdle).toBe(false);
  leaving.abort();
  await expect(left).rejects.toThrow();
  await expect.poll(isIdle, { timeout: 3_000 }).toBe(true);
  const taken = post(gateway, path, message('taken'), session);
  await expect.poll(isIdle).toBe(false);
  // Nobody else's request is reached by its id.
  for (const other of [await shakeHands(gateway, path), {}]) {
    await post(gateway, path, { method: 'notifications/cancelled', params: { requestId: 'taken' } }, other);
  }
  expect(isIdle()).toBe(false);
  await post(gateway, path, { method: 'notifications/cancelled', params: { requestId: 'taken' } }, session);
  expect((await taken).body.error).toMatchObject({ message: 'The request was cancelled.' });
  await expect.poll(isIdle, { timeout: 3_000 }).toBe(true);
});

test('a client that leaves in the middle of the stream of a paid call has paid for it', async () => {
  const key = await gateway.mint(250);
  const params = callOf('test_tool_with_progress', {}, { progressToken: 1 });
  const message = { jsonrpc: '2.0', id: 1, method: 'tools/call', params };
  const leaving = new AbortController();
  const body = jsonBody(message, { ...bearer(key), ...STREAMING });
  const response = await gateway.fetch(path, { ...body, signal: leaving.signal });
  await response.body?.getReader().read();
  leaving.abort();
  const states = async () => {
    const listed = await gateway.fetch('/v1/calls', { headers: bearer(key) });
    const { calls } = (await listed.json()) as { calls: { state: string }[] };
    return calls.map(({ state }) => state);
  };
  await expect.poll(states, { timeout: 5_000 }).toEqual(['captured']);
});

// The stateless era

test('server/discover tells the era, what holds in it, and how long that may be believed', async () => {
  const { body } = await askStateless(gateway, path, 'server/discover');
  expect(body.result).toEqual({
    resultType: 'complete',
    ...{ supportedVersions: ['2026-07-28'], instructions: 'Everything, for tests.' },
    capabilities: { tools: {}, resources: {}, prompts: {}, completions: {} },
    ...{ ttlMs: 60_000, cacheScope: 'public' },
    _meta: {
      'io.modelcontextprotocol/serverInfo': { name: 'everything', version: '1.0.0' },
      'millicent/gateway': expect.objectContaining({ server: server.name }),
    },
  });
});

test('what a server of 2026-07-28 needs of its client comes as a result, costs nothing and counts as no failure', async () => {
  const paid = await publishEverything(gateway, { model: 'per_call', amount_mcents: 250 });
  const key = await gateway.mint(250);
  const name = 'test_input_required_result_elicitation';
  const capable = { 'io.modelcontextprotocol/clientCapabilities': { elicitation: {} } };
  const call = (more: object = {}) =>
    askStateless(gateway, paid.path, 'tools/call', { ...callOf(name, {}, capable), ...more }, bearer(key));
  for (let round = 0; round < 25; round += 1) {
    const { body } = await call();
    expect(body.result).toMatchObject({
      resultType: 'input_required',
      inputRequests: { user_name: { method: 'elicitation/create' } },
    });
  }
  expect(await balanceOf(gateway, key)).toBe(250);
  const inputResponses = { user_name: { action: 'accept', content: { name: 'Ada' } } };
  const answered = await call({ inputResponses });
  expect(answered.body.result).toMatchObject({
    resultType: 'complete',
    content: [{ text: 'Hello, Ada!' }],
    _meta: { 'millicent/charged-mcents': 250 },
  });
  expect(await balanceOf(gateway, key)).toBe(0);
});

test('the answer of a server to subscriptions/listen is that nothing here changes', async () => {
  const { events, body } = await askStateless(gateway, path, 'subscriptions/listen', {
    notifications: { toolsListChanged: true },
  });
  expect(events).toMatchObject([
    { method: 'notifications/subscriptions/acknowledged', params: { notifications: {} } },
  ]);
  expect(body.result).toMatchObject({ resultType: 'complete' });
});

// Load

test('of 500 calls at once each gets its own answer, and each is paid once', {
  timeout: 300_000,
}, async () => {
  const key = await gateway.mint(500 * 250);
  const call = async (text: string) => {
    for (;;) {
      const { body } = await ask(gateway, path, 'tools/call', callOf('echo', { text }), bearer(key));
      const problem = body.result?._meta?.['millicent/problem'] as { status: number } | undefined;
      // Too long a wait for a place costs nothing and says when to come back.
      if (problem?.status !== 503) return body.result?.structuredContent;
      await new Promise((resume) => setTimeout(resume, 1_000));
    }
  };
  const texts = Array.from({ length: 500 }, (_, count) => `call ${count}`);
  expect(await Promise.all(texts.map(call))).toEqual(texts.map((text) => ({ text })));
  expect(await balanceOf(gateway, key)).toBe(0);
});

test("the marketplace's own server speaks MCP at its name", async () => {
  const { body } = await ask(gateway, '/mcp/millicent', 'tools/call', callOf('search_mcps', { q: 'test' }));
  expect(body.result?.isError).not.toBe(true);
  expect(body.result?.content?.length).toBeGreaterThan(0);
  expect((await ask(gateway, '/mcp/millicent', 'prompts/list')).body.error?.code).toBe(-32601);
});
