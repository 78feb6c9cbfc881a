import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { jsonBody, publishEcho, submission } from './fixtures.ts';
import {
  type Body,
  bearer,
  expectFreeProblem,
  expectProblem,
  readBody,
  type Surface,
  startSurface,
  times,
} from './surface.ts';

let surface: Surface;
let gateway: TestGateway;
let key: string;
const ids = new Map<string, string>();

/** What is listed, oldest first. */
const SERVERS = [
  ['library/text-stats', 'Counts words and sentences of documents', ['text', 'data'], 'count_words', 300],
  ['library/csv-profile', 'Profiles the columns of tables', ['data'], 'profileColumns', 100],
  ['library/diff', 'Compares two documents', ['text'], 'compare', 0],
  ['library/zebra', 'Übersetzt Wörter', ['language'], 'translate', 200],
  ['library/apple', 'Tells one fruit from another', [], 'classify', 100],
] as const;

beforeAll(async () => {
  surface = await startSurface();
  gateway = surface.gateway;
  key = await gateway.mint(0, ['publish']);
  for (const [name, description, category, tool, price] of SERVERS) {
    const pricing = price === 0 ? { model: 'free' } : { model: 'per_call', amount_mcents: price };
    const files = { 'server.py': serverOf(tool) };
    const body = submission(name, { description, category, pricing, files });
    const response = await gateway.fetch('/mcp', jsonBody(body, bearer(key)));
    expect(response.status).toBe(201);
    ids.set(name, (await readBody(response)).id);
  }
});
afterAll(() => surface.close());

function serverOf(tool: string): string {
  return `import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    elif message.get("method") == "tools/list":
        result = {"tools": [{"name": "${tool}", "inputSchema": {"type": "object"}}]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
`;
}

const search = async (query: string): Promise<Body> => {
  const response = await gateway.fetch(`/mcp?${query}`);
  const body = await readBody(response);
  expect([query, response.status, body.ok]).toEqual([query, 200, true]);
  return body;
};
const namesOf = ({ servers }: Body) => servers.map(({ name }) => name.replace('library/', ''));
const find = async (query: string) => namesOf(await search(query));

test('the list says of each server what it is, what it costs and which code it runs', async () => {
  const { servers } = await search('q=text-stats');
  expect(servers).toEqual([
    {
      ...{ id: ids.get('library/text-stats'), name: 'library/text-stats', version: '1.0.0' },
      ...{ description: 'Counts words and sentences of documents', category: ['text', 'data'] },
      ...{ language: 'python', tier: 'hobbyist', license: 'MIT', repo_url: null },
      ...{ code_hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/), log_index: expect.any(Number) },
      ...{ tools: ['count_words'], pricing: { model: 'per_call', amount_mcents: 300, tools: {} } },
      ...{ created_at: expect.any(String), updated_at: expect.any(String) },
    },
  ]);
});

test('a search finds by name, description, category and tool, by whole words or their beginning', async () => {
  expect(await find('q=csv')).toEqual(['csv-profile']);
  expect(await find('q=CSV-Profile')).toEqual(['csv-profile']);
  expect(await find('q=sentence')).toEqual(['text-stats']);
  expect(await find('q=count_words')).toEqual(['text-stats']);
  expect(await find('q=columns%20profile')).toEqual(['csv-profile']);
  expect(await find('q=W%C3%B6rter')).toEqual(['zebra']);
  expect((await find('q=documents')).sort()).toEqual(['diff', 'text-stats']);
  expect((await find('q=docu')).sort()).toEqual(['diff', 'text-stats']);
  expect(await find('q=documents%20fruit')).toEqual([]);
  for (const nothing of ['zzzz', '!!!', "'%20OR%201=1", '%25', '_', "');DROP TABLE x--"]) {
    expect(await find(`q=${nothing}`)).toEqual([]);
  }
});

test('a list can be narrowed to a category and a tier', async () => {
  expect((await find('category=data')).sort()).toEqual(['csv-profile', 'text-stats']);
  expect(await find('category=data&q=words')).toEqual(['text-stats']);
  expect(await find('category=dat')).toEqual([]);
  // The marketplace itself is listed too.
  expect(await find('tier=hobbyist')).toHaveLength(6);
  expect(await find('tier=pro')).toEqual([]);
});

test('a list is sorted by name, by price or newest first', async () => {
  expect(await find('sort=name')).toEqual([
    'apple',
    'csv-profile',
    'diff',
    'text-stats',
    'zebra',
    'millicent',
  ]);
  expect(await find('sort=new')).toEqual([
    'apple',
    'zebra',
    'diff',
    'csv-profile',
    'text-stats',
    'millicent',
  ]);
  expect(await find('')).toEqual(await find('sort=new'));
  const prices = (await search('sort=price')).servers.map(({ pricing }) => pricing.amount_mcents);
  expect(prices).toEqual([0, 0, 100, 100, 200, 300]);
});

test('pages hold every server once, in the same order as one list, however it is sorted', async () => {
  for (const query of [
    'sort=name',
    'sort=price',
    'sort=new',
    'q=t',
    'q=docu&sort=name',
    'category=data&sort=price',
  ]) {
    const all = await find(query);
    for (const limit of [1, 2, 4]) {
      const seen: string[] = [];
      let cursor: string | undefined = '';
      for (let page = 0; cursor !== undefined && page < 10; page += 1) {
        const body: Body = await search(`${query}&limit=${limit}&cursor=${cursor}`);
        expect(body.servers.length).toBeLessThanOrEqual(limit);
        seen.push(...namesOf(body));
        cursor = body.next_cursor;
      }
      expect([query, limit, seen, cursor]).toEqual([query, limit, all, undefined]);
    }
  }
});

test('a cursor goes on with the list it came from and no other', async () => {
  const { next_cursor: cursor = '' } = await search('sort=name&limit=1');
  const forge = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const wrong = [
    ...[`sort=price&cursor=${cursor}`, `sort=new&cursor=${cursor}`, `sort=name&cursor=${cursor.slice(3)}`],
    ...[`sort=name&cursor=${'A'.repeat(501)}`, 'sort=name&cursor=%00'],
    ...[null, [], ['name'], ['name', 'a', 'b'], ['name', '', '0'], ['price', "1'--", '0']].map(
      (value) => `sort=name&cursor=${forge(value)}`,
    ),
  ];
  for (const query of wrong) {
    await expectProblem(await gateway.fetch(`/mcp?${query}`), 400, 'malformed-request');
  }
});

test('a server is found by its id and by its name, with its tools and their prices', async () => {
  const id = ids.get('library/text-stats') ?? '';
  const [byId, byName] = await Promise.all(
    [id, 'library%2Ftext-stats'].map(async (path) => (await gateway.fetch(`/mcp/${path}`)).json()),
  );
  expect(byName).toEqual(byId);
  expect(byId).toMatchObject({
    ...{ ok: true, id, name: 'library/text-stats', version: '1.0.0', entrypoint: 'server.py' },
    ...{ tools_hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/), log_index: expect.any(Number) },
    tools: [{ name: 'count_words', inputSchema: { type: 'object' }, price_mcents: 300 }],
  });
  expect(JSON.stringify(byId)).not.toContain('sys.stdin');
  for (const path of ['library%2Fnothing', `${id}?version=9.9.9`, `${id}x`, 'library', `${id}/nothing`]) {
    await expectProblem(await gateway.fetch(`/mcp/${path}`), 404, 'not-found');
  }
});

test('there is no stream and no session at a server’s address: 405 tells a stock MCP client so', async () => {
  for (const id of ['library%2Fdiff', ids.get('library/diff')]) {
    for (const accept of ['text/event-stream', 'application/json, text/event-stream']) {
      const stream = await gateway.fetch(`/mcp/${id}`, { headers: { accept } });
      await expectProblem(stream, 405, 'method-not-allowed');
      expect(stream.headers.get('allow')).toMatch(/GET/);
    }
    const ended = await gateway.fetch(`/mcp/${id}`, { method: 'DELETE' });
    await expectProblem(ended, 405, 'method-not-allowed');
    expect((await gateway.fetch(`/mcp/${id}`, { headers: { accept: 'application/json' } })).status).toBe(200);
  }
});

test('a server that fails too often is taken off sale, free of charge, until its next version', async () => {
  const echo = await publishEcho(gateway);
  const payers = await Promise.all(times(3, () => gateway.mint(10_000)));
  const fail = (as: string) => gateway.fetch(echo.call, jsonBody({ tool: 'fail' }, bearer(as)));
  for (const payer of payers) {
    for (const response of await Promise.all(times(4, () => fail(payer)))) {
      expect([502, 503]).toContain(response.status);
    }
  }
  for (const headers of [{}, bearer(payers[0] ?? '')]) {
    const call = jsonBody({ tool: 'random', arguments: {} }, headers);
    const refused = await gateway.fetch(echo.call, call);
    const { detail } = await expectFreeProblem(refused, 503, 'unavailable');
    expect(detail).toMatch(/paused/);
    expect(refused.headers.get('retry-after')).toBeTruthy();
  }
  expect(namesOf(await search(`q=${encodeURIComponent(echo.name)}`))).toEqual([]);
  const listing = await gateway.fetch(`/mcp/${echo.id}`);
  expect(await listing.json()).toMatchObject({ pause_reason: expect.stringMatching(/new version/) });
  const next = { ...jsonBody(submission(echo.name, { version: '1.0.1' }), bearer(echo.key)), method: 'PUT' };
  expect((await gateway.fetch(`/mcp/${echo.id}`, next)).status).toBe(201);
  const call = jsonBody({ tool: 'random', arguments: {} }, bearer(payers[0] ?? ''));
  expect((await gateway.fetch(echo.call, call)).status).toBe(200);
  expect(namesOf(await search(`q=${encodeURIComponent(echo.name)}`))).toEqual([echo.name]);
});
