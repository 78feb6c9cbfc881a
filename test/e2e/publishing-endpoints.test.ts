import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { archiveHash } from '../../src/core/archive.ts';
import { startEndpoint, type TestEndpoint } from '../execution/remote-harness.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { jsonBody, submission } from './fixtures.ts';
import { bearer, expectProblem, type Surface, startSurface } from './surface.ts';

let surface: Surface;
let gateway: TestGateway;
let endpoint: TestEndpoint;
let key: string;
/** What the endpoint serves besides MCP, by path. */
const served = new Map<string, string>();
let tools: unknown = [];

beforeAll(async () => {
  // No code runs here: what a publisher runs itself needs no sandbox.
  surface = await startSurface({ SANDBOX: 'none', REMOTE_ALLOW_LOOPBACK: 'yes' });
  gateway = surface.gateway;
  endpoint = await startEndpoint((request, response, body) => {
    const text = served.get(request.url ?? '');
    if (request.method === 'GET') {
      response.writeHead(text === undefined ? 404 : 200, { 'content-type': 'text/plain' });
      response.end(text);
      return;
    }
    const { id, method, params } = JSON.parse(body === '' ? '{}' : body);
    if (id === undefined) {
      response.writeHead(202).end();
      return;
    }
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer(method, params) }));
  });
});
afterAll(async () => {
  await endpoint.close();
  await surface.close();
});
beforeEach(async () => {
  served.clear();
  tools = [{ name: 'echo', inputSchema: { type: 'object' } }];
  key = await gateway.mint(0, ['publish', 'read']);
});

function answer(method: string, params: Record<string, unknown>): Record<string, unknown> {
  switch (method) {
    case 'initialize':
      return {
        result: {
          ...{ protocolVersion: params.protocolVersion, capabilities: { tools: {} } },
          serverInfo: { name: 'theirs', version: '1' },
        },
      };
    case 'tools/list':
      return { result: { tools } };
    case 'tools/call':
      return { result: { content: [{ type: 'text', text: JSON.stringify(params.arguments) }] } };
    default:
      return { error: { code: -32601, message: 'not known here' } };
  }
}

let made = 0;
function remoteBody(change: Record<string, unknown> = {}): Record<string, unknown> {
  made += 1;
  const { files: _, entrypoint: __, language: ___, ...body } = submission(`endpoints-${made}/tool`);
  return {
    ...{
      ...body,
      tier: 'pro',
      endpoint_url: endpoint.url,
      pricing: { model: 'per_call', amount_mcents: 100 },
    },
    ...change,
  };
}

const post = (body: unknown, as = key) => gateway.fetch('/mcp', jsonBody(body, bearer(as)));
type Challenge = { url: string; body: string };

/** Serves what the gateway asks for, and answers the id that it promised. */
async function prove(body: unknown, as = key): Promise<string> {
  const refused = await expectProblem(await post(body, as), 403, 'forbidden');
  const challenge = refused.challenge as Challenge;
  served.set(new URL(challenge.url).pathname, challenge.body);
  return String(refused.id);
}

async function readBody(response: Response): Promise<Record<string, unknown> & { id: string }> {
  // The tests check what they read of it.
  return (await response.json()) as Record<string, unknown> & { id: string };
}

it('an endpoint is listed once its origin serves what was asked, under the id that was promised', async () => {
  const body = remoteBody({ limits: { timeout_ms: 3_000 } });
  const refused = await expectProblem(await post(body), 403, 'forbidden');
  expect(refused).toMatchObject({
    ...{ field: 'endpoint_url', note: 'no charge applied' },
    challenge: {
      url: expect.stringContaining(new URL(endpoint.url).origin),
      body: expect.stringMatching(/\S{32}/),
    },
  });
  expect((await gateway.fetch(`/mcp/${encodeURIComponent(String(body.name))}`)).status).toBe(404);
  const promised = await prove(body);
  const response = await post(body);
  const listed = await readBody(response);
  expect([response.status, listed.detail]).toEqual([201, undefined]);
  const code = new Map([
    ['millicent-endpoint.json', Buffer.from(JSON.stringify({ endpoint_url: endpoint.url }))],
  ]);
  expect(listed).toMatchObject({
    ...{ id: promised, code_hash: `sha256:${archiveHash(code)}`, tools: ['echo'], layer_hash: null },
    ...{ runtime: { language: null, root_hash: null }, network: { hosts: [] } },
    limits: { timeout_ms: 3_000, output_kb: 1_024 },
  });
});

it('where a self-hosted server answers is shown to its publisher and to nobody else', async () => {
  const body = remoteBody();
  await prove(body);
  const { id } = await readBody(await post(body));
  const shown = async (as?: string) =>
    readBody(await gateway.fetch(`/mcp/${id}`, as === undefined ? {} : { headers: bearer(as) }));
  expect(await shown(key)).toMatchObject({ tier: 'pro', endpoint_url: endpoint.url });
  const stranger = await gateway.mint(0, ['publish', 'read']);
  for (const seen of [
    await shown(),
    await shown(stranger),
    await readBody(await gateway.fetch('/mcp?tier=pro')),
  ]) {
    expect(JSON.stringify(seen)).not.toContain(new URL(endpoint.url).host);
  }
});

it('a call of a self-hosted server is delivered and charged on a gateway without a sandbox', async () => {
  const body = remoteBody();
  await prove(body);
  const { id } = await readBody(await post(body));
  const agent = await gateway.mint(1_000);
  const response = await gateway.fetch(
    `/invoke/${id}`,
    jsonBody({ tool: 'echo', arguments: { a: 1 } }, bearer(agent)),
  );
  expect(await readBody(response)).toMatchObject({
    ...{ ok: true, charged_mcents: 100 },
    result: { content: [{ type: 'text', text: '{"a":1}' }] },
  });
  const call = endpoint.seen.findLast(({ rpc }) => rpc === 'tools/call');
  const [, claims = ''] = String(call?.headers.authorization).split('.');
  expect(JSON.parse(Buffer.from(claims, 'base64url').toString())).toMatchObject({ aud: id, tier: 'key' });
});

it('the proof of one publisher proves nothing for another', async () => {
  const body = remoteBody();
  await prove(body);
  const other = await gateway.mint(0, ['publish', 'read']);
  await expectProblem(await post(remoteBody(), other), 403, 'forbidden');
  expect((await post(body)).status).toBe(201);
});

it('a new version may move to another address, proved anew, and never becomes hosted', async () => {
  const body = remoteBody();
  await prove(body);
  const { id } = await readBody(await post(body));
  const put = (change: object) =>
    gateway.fetch(`/mcp/${id}`, { ...jsonBody({ ...body, ...change }, bearer(key)), method: 'PUT' });
  served.clear();
  const unproven = await expectProblem(
    await put({ version: '1.1.0', endpoint_url: `${endpoint.url}/v2` }),
    ...([403, 'forbidden'] as const),
  );
  expect(unproven.id).toBe(id);
  const challenge = unproven.challenge as Challenge;
  served.set(new URL(challenge.url).pathname, challenge.body);
  const moved = await put({ version: '1.1.0', endpoint_url: `${endpoint.url}/v2` });
  expect(await readBody(moved)).toMatchObject({ id, version: '1.1.0' });
  const hosted = submission(String(body.name), { version: '2.0.0' });
  const response = await gateway.fetch(`/mcp/${id}`, { ...jsonBody(hosted, bearer(key)), method: 'PUT' });
  expect((await expectProblem(response, 409, 'conflict')).detail).toMatch(/^tier: /);
});

it('an endpoint that is no MCP server, or offers nothing, is refused and not listed', async () => {
  const body = remoteBody();
  await prove(body);
  for (const offered of [[], 'none', [{ name: 'a b', inputSchema: { type: 'object' } }]]) {
    tools = offered;
    await expectProblem(await post(body), 422, 'invalid-code');
  }
  const nowhere = remoteBody({ endpoint_url: 'http://127.0.0.1:1/mcp' });
  await expectProblem(await post(nowhere), 403, 'forbidden');
  for (const { name } of [body, nowhere]) {
    expect((await gateway.fetch(`/mcp/${encodeURIComponent(String(name))}`)).status).toBe(404);
  }
});

it('an endpoint on this machine is refused by a gateway that does not allow it', async () => {
  const other = await surface.startAnother({ env: { SANDBOX: 'none' } });
  for (const endpoint_url of [
    endpoint.url,
    'https://127.0.0.1/mcp',
    'https://10.0.0.1/mcp',
    'https://localhost/',
  ]) {
    const response = await other.fetch('/mcp', jsonBody(remoteBody({ endpoint_url }), bearer(key)));
    expect(await expectProblem(response, 422, 'invalid-arguments')).toMatchObject({ field: 'endpoint_url' });
  }
});
