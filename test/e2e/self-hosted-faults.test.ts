import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOwnership } from '../../src/execution/backends/remote-mcp/index.ts';
import { startEndpoint } from '../execution/remote-harness.ts';
import { type Agent, createAgent, jsonBody } from './fixtures.ts';
import { ask, shakeHands } from './mcp-fixtures.ts';
import {
  type Listed,
  listOwn,
  type OwnServer,
  ownSubmission,
  serveStateless,
  startOwn,
} from './own-servers.ts';
import {
  balanceOf,
  bearer,
  countByStatus,
  expectFreeProblem,
  expectProblem,
  readBody,
  type Surface,
  startSurface,
  times,
} from './surface.ts';

const PRICE = 200;
const CONTENT = 'the content that nobody pays for';
const LIMITS = { timeout_ms: 1_000, output_kb: 64 };

let surface: Surface;
let agent: Agent;

beforeAll(async () => {
  surface = await startSurface({ SANDBOX: 'none', REMOTE_ALLOW_LOOPBACK: 'yes' });
  agent = await createAgent(surface.anvil);
});
afterAll(() => surface.close());

type Answering = (response: ServerResponse, id: unknown) => unknown;

const json = (response: ServerResponse, id: unknown, answer: object) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer }));
};
const TEXT = [{ type: 'text', text: CONTENT }];

/** How a call goes wrong, and what is said of it. */
const FAULTS: [what: string, status: 502 | 504, detail: RegExp, answer: Answering][] = [
  [
    ...(['says isError at length', 502, /^very wrong/] as const),
    (response, id) => {
      const content = [{ type: 'text', text: `very wrong ${'ä'.repeat(5_000)}` }];
      json(response, id, { result: { content, isError: true } });
    },
  ],
  [
    ...(['answers with a JSON-RPC error', 502, /no such city/] as const),
    (response, id) => json(response, id, { error: { code: -32000, message: 'no such city' } }),
  ],
  ['answers HTTP 500', 502, /HTTP 500/, (response) => response.writeHead(500).end(CONTENT)],
  ['refuses our token', 502, /HTTP 401.*tokens/, (response) => response.writeHead(401).end(CONTENT)],
  ['never answers', 504, /within 1000 ms/, () => undefined],
  [
    ...(['drips', 504, /within 1000 ms/] as const),
    (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => response.write(`: ${CONTENT}\n\n`), 50);
      response.once('close', () => clearInterval(timer));
    },
  ],
  [
    ...(['redirects to the metadata service', 502, /redirect/] as const),
    (response) => response.writeHead(307, { location: 'http://169.254.169.254/latest/meta-data' }).end(),
  ],
  [
    ...(['answers with more than it may', 502, /65536 bytes/] as const),
    (response, id) =>
      json(response, id, { result: { content: [{ type: 'text', text: 'x'.repeat(70_000) }] } }),
  ],
  [
    ...(['breaks its contract', 502, /sum/] as const),
    (response, id) => json(response, id, { result: { content: TEXT, structuredContent: { sum: 'four' } } }),
  ],
  [
    ...(['forgets its structured result', 502, /structuredContent/] as const),
    (response, id) => json(response, id, { result: { content: TEXT } }),
  ],
  [
    ...(['answers another request', 502, /not asked/] as const),
    (response) => json(response, 999_999, { result: { content: TEXT, structuredContent: { sum: 4 } } }),
  ],
  [
    ...(['answers with a page', 502, /neither with JSON/] as const),
    (response) => response.writeHead(200, { 'content-type': 'text/html' }).end(`<p>${CONTENT}`),
  ],
  [
    ...(['breaks off', 502, /broke/] as const),
    (response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '900' });
      response.write(`{"jsonrpc":"2.0","result":{"content":[{"type":"text","text":"${CONTENT}`);
      setTimeout(() => response.destroy(), 50);
    },
  ],
];

const SUM_TOOL = {
  name: 'sum',
  inputSchema: { type: 'object' },
  outputSchema: { type: 'object', properties: { sum: { type: 'number' } }, required: ['sum'] },
};

/** A stateless server with one tool, which it answers in this way. */
function startFaulty(answer: Answering): Promise<OwnServer> {
  return startOwn((_, response, body) => {
    const { id, method } = JSON.parse(body.toString() || '{}');
    const more = { resultType: 'complete', ttlMs: 0, cacheScope: 'private' };
    switch (method) {
      case 'server/discover':
        return json(response, id, {
          result: { ...more, supportedVersions: ['2026-07-28'], capabilities: { tools: {} } },
        });
      case 'tools/list':
        return json(response, id, { result: { ...more, tools: [SUM_TOOL] } });
      default:
        return answer(response, id);
    }
  });
}

const PRICING = { pricing: { model: 'per_call', amount_mcents: PRICE } };
const SUM = { tool: 'sum', arguments: {} };

describe.each(FAULTS)('an endpoint that %s', (_, status, detail, answer) => {
  let own: OwnServer;
  let server: Listed;
  beforeAll(async () => {
    own = await startFaulty(answer);
    server = await listOwn(surface.gateway, own, { change: { ...PRICING, limits: LIMITS } });
  });
  afterAll(() => own.close());

  test('costs a key nothing, and why is said in 512 bytes without its content', async () => {
    const key = await surface.gateway.mint(PRICE);
    const response = await surface.gateway.fetch(server.call, jsonBody(SUM, bearer(key)));
    const problem = await expectFreeProblem(
      response,
      status,
      status === 504 ? 'tool-timeout' : 'tool-failed',
    );
    expect(problem.detail).toMatch(detail);
    expect(Buffer.byteLength(problem.detail)).toBeLessThanOrEqual(512);
    expect(JSON.stringify(problem)).not.toContain(CONTENT);
    expect(await balanceOf(surface.gateway, key)).toBe(PRICE);
  });

  test('costs nothing on the chain either, and nothing over MCP', async () => {
    const owned = await agent.owns();
    const request = jsonBody(SUM);
    const credential = await agent.sign(await surface.gateway.fetch(server.call, request));
    const paid = { ...request, headers: { ...request.headers, ...credential } };
    const problem = await expectFreeProblem(
      await surface.gateway.fetch(server.call, paid),
      ...([status, status === 504 ? 'tool-timeout' : 'tool-failed'] as const),
    );
    expect(problem.detail).toMatch(detail);
    expect(await agent.owns()).toBe(owned);
    const key = await surface.gateway.mint(PRICE);
    const session = await shakeHands(surface.gateway, server.path);
    const headers = { ...session, ...bearer(key) };
    const { body } = await ask(surface.gateway, server.path, 'tools/call', { name: 'sum' }, headers);
    expect(JSON.stringify(body)).not.toContain(CONTENT);
    expect(body.result?.isError === true || body.error !== undefined).toBe(true);
    expect(await balanceOf(surface.gateway, key)).toBe(PRICE);
  });
});

test('nobody is asked to pay an endpoint that is down; a payment made before buys its call once it is back', async () => {
  const { gateway } = surface;
  const own = await startOwn(serveStateless);
  const server = await listOwn(gateway, own, { change: PRICING });
  const greet = { tool: 'greet', arguments: { name: 'Ada' } };
  const invoke = (headers: Record<string, string> = {}) =>
    gateway.fetch(server.call, jsonBody(greet, headers));
  const credential = await agent.sign(await invoke());
  const owned = await agent.owns();
  const { port, host } = new URL(own.url);
  await own.close();
  const key = await gateway.mint(PRICE);
  for (let failure = 0; failure < 5; failure += 1) {
    const problem = await expectFreeProblem(await invoke(bearer(key)), 502, 'tool-failed');
    expect(problem.detail).toContain('refuses connections');
  }
  for (const headers of [{}, bearer(key), credential] as Record<string, string>[]) {
    const response = await invoke(headers);
    const problem = await expectFreeProblem(response, 503, 'unavailable');
    expect(problem.detail).toMatch(/could not be reached lately .*refuses connections.* try again in \d+ s/);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  }
  const session = await shakeHands(gateway, server.path);
  const overMcp = await ask(
    gateway,
    server.path,
    'tools/call',
    { name: 'greet', arguments: greet.arguments },
    session,
  );
  expect(overMcp.body.result).toMatchObject({ isError: true });
  expect(JSON.stringify(overMcp.body)).not.toContain('x402Version');
  const ready = await gateway.fetch('/ready');
  expect([ready.status, await ready.json()]).toMatchObject([
    200,
    { ok: true, checks: { endpoints: `not answering: ${host}` } },
  ]);
  expect(await balanceOf(gateway, key)).toBe(PRICE);

  const again = await startOwn(serveStateless, Number(port));
  const statusOf = async () => (await invoke(bearer(key))).status;
  await expect.poll(statusOf, { timeout: 20_000, interval: 500 }).toBe(200);
  expect(await readBody(await invoke(credential))).toMatchObject({ ok: true, charged_mcents: PRICE });
  expect(await agent.owns()).toBe(owned - BigInt(PRICE) * 10n);
  expect(await (await gateway.fetch('/ready')).json()).not.toHaveProperty('checks.endpoints');
  await again.close();
}, 60_000);

test('a slow server of one publisher takes no place that free calls of others need', async () => {
  const { gateway } = surface;
  const [slow, quick] = [await startFaulty(() => undefined), await startOwn(serveStateless)];
  const pricing = { model: 'free' };
  const hanging = await listOwn(gateway, slow, { change: { pricing, limits: { timeout_ms: 3_000 } } });
  const { call } = await listOwn(gateway, quick);
  const stuck = times(40, () => gateway.fetch(hanging.call, jsonBody(SUM)));
  const calls = () => slow.asked.filter(({ rpc }) => rpc === 'tools/call').length;
  await expect.poll(calls, { timeout: 3_000 }).toBe(40);
  expect((await gateway.fetch(call, jsonBody({ tool: 'gratis' }))).status).toBe(200);
  expect(countByStatus(await Promise.all(stuck))).toEqual({ 504: 40 });
  await Promise.all([slow.close(), quick.close()]);
});

describe('registering', () => {
  const register = async (to: Pick<Surface['gateway'], 'fetch'>, endpoint_url: string) => {
    const key = await surface.gateway.mint(0, ['publish', 'read']);
    return to.fetch('/mcp', jsonBody(ownSubmission('ssrf-tests/tool', { endpoint_url }), bearer(key)));
  };

  test('private, loopback and metadata addresses is refused, however they are spelled', async () => {
    const production = await surface.startAnother({ env: { SANDBOX: 'none' } });
    for (const host of [
      ...[
        '127.0.0.1',
        '127.1',
        '2130706433',
        '0x7f000001',
        '0177.0.0.1',
        '0.0.0.0',
        'localhost',
        'localhost.',
      ],
      ...['[::1]', '[::ffff:127.0.0.1]', '[fe80::1]', '[fd00::1]', '10.0.0.1', '172.16.0.1', '192.168.1.1'],
      ...['169.254.169.254', '[::ffff:169.254.169.254]', '[fd00:ec2::254]', '100.100.100.200', '100.64.0.1'],
      ...[
        'metadata.google.internal',
        'printer.local',
        'intranet',
        'user:pass@mcp.example.com',
        '１２７.0.0.1',
      ],
    ]) {
      const response = await register(production, `https://${host}/mcp`);
      const problem = await expectProblem(response, 422, 'invalid-arguments');
      expect([host, problem.field]).toEqual([host, 'endpoint_url']);
    }
    for (const url of [
      'http://mcp.example.com/',
      'ftp://mcp.example.com/',
      'file:///etc/passwd',
      'data:,x',
    ]) {
      await expectProblem(await register(production, url), 422, 'invalid-arguments');
    }
  });

  test('a name that leads to a private address is refused, whatever other addresses it has', async () => {
    const production = await surface.startAnother({ env: { SANDBOX: 'none' } });
    const addresses: Record<string, string[]> = {
      'loopback.example.com': ['127.0.0.1'],
      'metadata.example.com': ['169.254.169.254'],
      'private.example.com': ['10.1.2.3'],
      'mixed.example.com': ['93.184.216.34', '192.168.0.1'],
      'six.example.com': ['::ffff:10.0.0.1'],
    };
    const resolve = async (name: string) =>
      (addresses[name] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    production.deps.http.ownership = createOwnership({
      secrets: [Buffer.alloc(32)],
      allowLoopback: false,
      resolve,
    });
    for (const name of Object.keys(addresses)) {
      const problem = await expectProblem(
        await register(production, `https://${name}/mcp`),
        403,
        'forbidden',
      );
      expect([name, problem.detail]).toEqual([name, expect.stringContaining('not of the open Internet')]);
    }
  });

  test('an origin that only redirects to the proof proves nothing, and nobody follows it', async () => {
    const proving = await startOwn(serveStateless);
    const redirecting = await startEndpoint((request, response) => {
      response.writeHead(302, { location: new URL(request.url ?? '', proving.url).href }).end();
    });
    const key = await surface.gateway.mint(0, ['publish', 'read']);
    const submission = ownSubmission('ssrf-tests/tool', { endpoint_url: redirecting.url });
    const register = () => surface.gateway.fetch('/mcp', jsonBody(submission, bearer(key)));
    const { challenge } = await expectProblem(await register(), 403, 'forbidden');
    const { url, body } = challenge as { url: string; body: string };
    proving.files.set(new URL(url).pathname, body);
    expect(await (await fetch(url)).text()).toBe(body);
    const refused = await expectProblem(await register(), 403, 'forbidden');
    expect(refused.detail).toContain('redirects are not followed');
    await Promise.all([proving.close(), redirecting.close()]);
  });
});
