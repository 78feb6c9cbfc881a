import { afterAll, beforeAll, expect, test } from 'vitest';
import { archiveHash } from '../../src/core/archive.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody, publishEcho, submission } from './fixtures.ts';
import {
  bearer,
  countByStatus,
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

beforeAll(async () => {
  surface = await startSurface();
  gateway = surface.gateway;
  key = await newPublisher();
});
afterAll(() => surface.close());

const newPublisher = () => gateway.mint(0, ['publish']);
const post = (body: unknown, as = key) => gateway.fetch('/mcp', jsonBody(body, bearer(as)));
const put = (id: string, body: unknown, as = key) =>
  gateway.fetch(`/mcp/${encodeURIComponent(id)}`, { ...jsonBody(body, bearer(as)), method: 'PUT' });
const isListed = async (name: string) => {
  const { status } = await gateway.fetch(`/mcp/${encodeURIComponent(name)}`);
  expect([200, 404]).toContain(status);
  return status === 200;
};

let made = 0;
/** A name nobody had, in a namespace of its own when there is none given. */
function newName(namespace?: string): string {
  made += 1;
  return `${namespace ?? 'acme'}/tool-${made}`;
}

/** An MCP server that answers `tools/list` with this, and every call with its own words. */
function serverOf(tools: string, words = 'done', head = ''): string {
  return `import json, sys
${head}
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    elif message["method"] == "tools/list":
        result = {"tools": ${tools}}
    else:
        result = {"content": [{"type": "text", "text": ${JSON.stringify(words)}}]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
`;
}
const ONE_TOOL = '[{"name": "run", "inputSchema": {"type": "object"}}]';
const withCode = (code: string, change: Record<string, unknown> = {}) => ({
  pricing: { model: 'per_call', amount_mcents: 10 },
  files: { 'server.py': code },
  ...change,
});

const DEFAULT_HOSTING = {
  runtime: { language: 'python', root_hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) },
  ...{ layer_hash: null, network: { hosts: [] } },
  limits: { timeout_ms: 5_000, memory_mb: 512, output_kb: 1_024, tmp_mb: 64, processes: 32 },
};

// What publishing gives

test('what is listed is what the code says, under the hash of the code', async () => {
  const name = newName();
  const files = {
    'server.py': serverOf(ONE_TOOL),
    'data/words.txt': 'grüße\n',
    'x.bin': { base64: 'AAEC/w==' },
  };
  const response = await post(submission(name, { ...withCode(files['server.py']), files }));
  expect(response.status).toBe(201);
  const bytes = new Map(Object.entries({ ...files, 'x.bin': Buffer.from('000102ff', 'hex') })).entries();
  const hash = archiveHash(
    new Map([...bytes].map(([path, content]) => [path, Buffer.from(content as string)])),
  );
  const body = await readBody(response);
  expect(body).toEqual({
    ...{ ok: true, id: expect.stringMatching(/^[0-9a-f-]{36}$/), version_id: expect.any(String) },
    ...{ name, version: '1.0.0', code_hash: `sha256:${hash}`, tools: ['run'], log_index: expect.any(Number) },
    ...DEFAULT_HOSTING,
  });
  const listing = await gateway.fetch(`/mcp/${body.id}`);
  expect(await listing.json()).toMatchObject({
    ...{ id: body.id, name, code_hash: body.code_hash, log_index: body.log_index, ...DEFAULT_HOSTING },
    tools: [{ name: 'run', inputSchema: { type: 'object' }, price_mcents: 10 }],
  });
  const call = jsonBody({ tool: 'run' }, bearer(await gateway.mint(10)));
  expect((await gateway.fetch(`/invoke/${body.id}`, call)).status).toBe(200);
});

test('every publication has its own place in the log, without a gap, also when many come at once', async () => {
  const names = times(5, () => newName());
  const responses = await Promise.all(
    names.map((name) => post(submission(name, withCode(serverOf(ONE_TOOL))))),
  );
  expect(countByStatus(responses)).toEqual({ 201: 5 });
  const indexes = (await Promise.all(responses.map(readBody))).map((body) => body.log_index);
  indexes.sort((a, b) => a - b);
  expect(indexes).toEqual(times(5, (index) => (indexes[0] ?? 0) + index));
});

// What it refuses

const REFUSED: [field: string, wrong: unknown[]][] = [
  [
    'name',
    [
      ...['tool', 'a/b/c', 'Acme/tool', 'acme/', '/tool', 'acme/..', '../acme', 'acme/a b', 'acme/tool/', ''],
      ...[
        'millicent/tool',
        'millicent-labs/tool',
        'admin/tool',
        'mcp/tool',
        '\u0430cme/tool',
        'acme/to\u0000ol',
      ],
      ...[`acme/${'x'.repeat(65)}`, `${'x'.repeat(65)}/tool`, 7, null, ['acme/tool']],
    ],
  ],
  ['version', ['v1.0.0', '1.0', '1', 'latest', '1.0.0.0', '01.0.0', '^1.0.0', '', 1, null]],
  [
    'description',
    ['', '   ', 'x'.repeat(501), 'a\u0000b', 'safe \u202Eelif', 'hid\u200Bden', 'a\ud800b', 3, null],
  ],
  [
    'category',
    ['data', ['Data'], ['a b'], ['a', 'a'], ['a', 'b', 'c', 'd', 'e', 'f'], ['x'.repeat(33)], [1]],
  ],
  ['language', ['ruby', 'Python', null, 1]],
  ['tier', ['gold', null]],
  ['entrypoint', ['main.py', '../server.py', '', 1, null]],
  ['license', ['<script>', '', 'x'.repeat(65), 1]],
  [
    'repo_url',
    [
      ...['http://example.com', 'javascript:alert(1)', 'https://user:pass@example.com', 'example.com', ''],
      ...[`https://example.com/${'x'.repeat(300)}`, 1],
    ],
  ],
  ['changelog', ['x'.repeat(4_001), 'a\u0000b', 1]],
  [
    'pricing',
    [
      ...[undefined, null, 'free', {}, { model: 'barter' }, { model: 'subscription', amount_mcents: 100 }],
      ...[{ model: 'per_call' }, { model: 'free', amount_mcents: 1 }, { model: 'free', tools: { run: 1 } }],
      ...[-1, 1.5, '250', 10_000_001, null].map((amount_mcents) => ({ model: 'per_call', amount_mcents })),
      ...[{ run: -1 }, { run: '5' }, { 'no tool': 5 }, { other: 5 }, []].map((tools) => ({
        ...{ model: 'per_call', amount_mcents: 1, tools },
      })),
      { model: 'per_call', amount_mcents: 1, currency: 'EUR' },
    ],
  ],
  ['files', [undefined, null, [], 'print()', { 'server.py': 1 }, { 'server.py': { base64: 1 } }]],
];

test('a submission that breaks a rule is 422 with its field named, and nothing is listed', async () => {
  const name = newName();
  for (const [field, wrong] of REFUSED) {
    for (const value of wrong) {
      const response = await post(submission(name, { ...withCode(serverOf(ONE_TOOL)), [field]: value }));
      const body = await expectProblem(response.clone(), 422, 'invalid-arguments');
      expect([field, value, String(body.field).split('.')[0]]).toEqual([field, value, field]);
    }
  }
  const extra = await post(submission(name, { ...withCode(serverOf(ONE_TOOL)), publisher: 'acme' }));
  await expectProblem(extra, 422, 'invalid-arguments');
  for (const body of [null, [], 'x', 1, {}]) {
    await expectProblem(await post(body), 422, 'invalid-arguments');
  }
  for (const files of ['{"__proto__":"x"}', '{"server.py":"","__proto__":"x"}']) {
    const text = JSON.stringify(submission(name, { files: 'FILES' })).replace('"FILES"', files);
    const response = await gateway.fetch('/mcp', { ...jsonBody({}, bearer(key)), body: text });
    await expectProblem(response, 422, 'invalid-arguments');
  }
  expect(await isListed(name)).toBe(false);
});

test('file names that climb out, clash or hide are refused, and nothing is listed', async () => {
  const name = newName();
  const names = [
    ...[
      '../server.py',
      '../../etc/cron.d/x',
      '/etc/passwd',
      'a/../../x',
      './x.py',
      'a/./x',
      'a//x',
      'a/',
      '',
    ],
    ...[
      'a\\..\\x',
      'C:\\x',
      'x\u0000.py',
      'x\n.py',
      'x\u202Eyp.py',
      'e\u0301.py',
      'x'.repeat(101),
      '..',
      '.',
    ],
    ...['SERVER.PY', 'server.py/x.py', 'ſerver.py'],
  ];
  for (const file of names) {
    const files = { 'server.py': serverOf(ONE_TOOL), [file]: 'x' };
    const response = await post(submission(name, { ...withCode(''), files }));
    const body = await expectProblem(response, 422, 'invalid-code');
    expect([file, body.field]).toEqual([file, 'files']);
  }
  for (const files of [
    {},
    Object.fromEntries(times(1_001, (index) => [`${index}.py`, ''])),
    { 'server.py': { base64: '!!' } },
    { 'server.py': { base64: 'QQ' } },
  ]) {
    await expectProblem(await post(submission(name, { ...withCode(''), files })), 422, 'invalid-code');
  }
  expect(await isListed(name)).toBe(false);
});

test('oversized code is 413, and nothing is listed', async () => {
  const name = newName();
  const [MIB, server] = [1024 * 1024, serverOf(ONE_TOOL)];
  const many = Object.fromEntries(times(3, (index) => [`${index}.txt`, 'x'.repeat(1.8 * MIB)]));
  for (const files of [
    { 'server.py': server, 'large.txt': 'x'.repeat(2 * MIB + 1) },
    { 'server.py': server, 'large.bin': { base64: Buffer.alloc(2 * MIB + 1).toString('base64') } },
    { 'server.py': server, ...many },
  ]) {
    const response = await post(submission(name, { ...withCode(''), files }));
    await expectProblem(response, 413, 'body-too-large');
  }
  expect(await isListed(name)).toBe(false);
});

test('code that does not start is refused with its own stderr, which tells nothing of our machine', async () => {
  const name = newName();
  const broken: [code: string, stderr: RegExp][] = [
    ['def broken(:', /SyntaxError/],
    ['import nothing_like_this', /ModuleNotFoundError.*nothing_like_this/s],
    ['import sys\nsys.stderr.write("cannot find my settings\\n")\nsys.exit(2)', /cannot find my settings/],
    [`import sys\nsys.stderr.write("x" * 1000000 + "the end")\nsys.exit(1)`, /the end$/],
  ];
  for (const [code, expected] of broken) {
    const body = await expectProblem(await post(submission(name, withCode(code))), 422, 'invalid-code');
    expect(body.stderr).toMatch(expected);
    expect(Buffer.byteLength(String(body.stderr))).toBeLessThanOrEqual(16 * 1024);
    expect(JSON.stringify(body)).not.toContain(process.cwd());
    expect(JSON.stringify(body)).not.toMatch(/millicent-/);
  }
  expect(await isListed(name)).toBe(false);
});

test('code that offers no tool, or no proper one, is refused and says why', async () => {
  const name = newName();
  const object = '{"type": "object"}';
  const wrong: [tools: string, why: RegExp][] = [
    ['[]', /no tool/],
    ['"run"', /list of tools/],
    [`[{"inputSchema": ${object}}]`, /without a name/],
    [`[{"name": "a b", "inputSchema": ${object}}]`, /a b/],
    ['[{"name": "run"}]', /inputSchema/],
    ['[{"name": "run", "inputSchema": {"type": "strange"}}]', /inputSchema/],
    ['[{"name": "run", "inputSchema": {"type": "object", "$ref": "https://example.com/x"}}]', /inputSchema/],
    [`[{"name": "run", "inputSchema": ${object}, "outputSchema": 7}]`, /outputSchema/],
    [`[{"name": "run", "inputSchema": ${object}}, {"name": "run", "inputSchema": ${object}}]`, /twice/],
    [`[{"name": "t%d" % n, "inputSchema": ${object}} for n in range(129)]`, /128/],
  ];
  for (const [tools, why] of wrong) {
    const response = await post(submission(name, withCode(serverOf(tools))));
    const { detail } = await expectProblem(response, 422, 'invalid-code');
    expect(detail).toMatch(why);
  }
  const chatty = serverOf(ONE_TOOL, 'done', 'print("starting up", flush=True)');
  await expectProblem(await post(submission(name, withCode(chatty))), 422, 'invalid-code');
  expect(await isListed(name)).toBe(false);
});

test('a price for a tool the code does not offer is refused with the tools it offers', async () => {
  const name = newName();
  const pricing = { model: 'per_call', amount_mcents: 1, tools: { rnu: 5 } };
  const { detail } = await expectProblem(
    await post(submission(name, { ...withCode(serverOf(ONE_TOOL)), pricing })),
    422,
    'invalid-arguments',
  );
  expect(detail).toMatch(/"rnu".*"run"/);
  expect(await isListed(name)).toBe(false);
});

test('a refused publication takes no name and no namespace', async () => {
  const [first, second] = [await newPublisher(), await newPublisher()];
  const name = newName('contested');
  await expectProblem(await post(submission(name, withCode('nonsense(')), first), 422, 'invalid-code');
  expect((await post(submission(name, withCode(serverOf(ONE_TOOL))), second)).status).toBe(201);
});

// Who may publish what

test('publishing needs a publisher: a key without the scope is 403, and says how to become one', async () => {
  const agent = await createAgent(surface.anvil);
  const signup = await agent.fetch(`${gateway.url}/v1/signup`, jsonBody({}));
  const agentKey = (await readBody(signup)).key;
  for (const as of [agentKey, await gateway.mint(10, ['example', 'read', 'invoke'])]) {
    await expectFreeProblem(await post(submission(newName()), as), 403, 'forbidden');
    await expectFreeProblem(await put('acme/tool-1', submission(newName()), as), 403, 'forbidden');
  }
});

test('a name is taken once, and its namespace belongs to who used it first', async () => {
  const name = newName('owners');
  const code = withCode(serverOf(ONE_TOOL));
  const { id } = await readBody(await post(submission(name, code)));
  const again = await expectProblem(await post(submission(name, code)), 409, 'conflict');
  expect(again).toMatchObject({ id, detail: expect.stringContaining(`PUT /mcp/${id}`) });
  const other = await newPublisher();
  await expectProblem(await post(submission(name, code), other), 403, 'forbidden');
  await expectProblem(await post(submission(newName('owners'), code), other), 403, 'forbidden');
});

test('of many who list the same name at once exactly one does', async () => {
  const name = newName('racers');
  const code = withCode(serverOf(ONE_TOOL));
  const same = await Promise.all(times(5, () => post(submission(name, code))));
  expect(countByStatus(same)).toEqual({ 201: 1, 409: 4 });
  const rivals = await Promise.all(times(3, newPublisher));
  const fresh = newName('rivals');
  const raced = await Promise.all(rivals.map((rival) => post(submission(fresh, code), rival)));
  expect(countByStatus(raced)).toEqual({ 201: 1, 403: 2 });
});

test('one publisher may hold ten namespaces and no eleventh', async () => {
  const squatter = await newPublisher();
  const code = withCode(serverOf(ONE_TOOL));
  const names = times(10, (index) => newName(`squat-${index}`));
  const responses = await Promise.all(names.map((name) => post(submission(name, code), squatter)));
  expect(countByStatus(responses)).toEqual({ 201: 10 });
  await expectProblem(await post(submission(newName('squat-10'), code), squatter), 403, 'forbidden');
  expect((await post(submission(newName('squat-0'), code), squatter)).status).toBe(201);
});

// New versions

test('a new version is sold from now on, and the old one to who pins it', async () => {
  const name = newName();
  const code = (words: string, amount_mcents: number) => ({
    ...withCode(serverOf(ONE_TOOL, words)),
    pricing: { model: 'per_call', amount_mcents },
  });
  const first = await readBody(await post(submission(name, code('first', 10))));
  for (const by of [first.id, name]) {
    const version = by === name ? '1.2.0' : '1.1.0';
    const response = await put(by, submission(name, { ...code(version, 20), version, changelog: 'more' }));
    expect(response.status).toBe(201);
    const body = await readBody(response);
    expect(body).toMatchObject({ id: first.id, name, version });
    expect(body.log_index).toBeGreaterThan(first.log_index);
  }
  const buyer = bearer(await gateway.mint(1_000));
  const buy = async (version?: string) =>
    readBody(await gateway.fetch(`/invoke/${first.id}`, jsonBody({ tool: 'run', version }, buyer)));
  expect(await buy()).toMatchObject({ result: { content: [{ text: '1.2.0' }] }, charged_mcents: 20 });
  expect(await buy('1.0.0')).toMatchObject({ result: { content: [{ text: 'first' }] }, charged_mcents: 20 });
  const old = await gateway.fetch(`/mcp/${first.id}?version=1.0.0`);
  expect(await old.json()).toMatchObject({ version: '1.0.0', code_hash: first.code_hash });
});

test('a version never changes: the same again is what is there, anything else is 409', async () => {
  const name = newName();
  const good = submission(name, withCode(serverOf(ONE_TOOL)));
  const first = await readBody(await post(good));
  const again = await put(first.id, good);
  expect(again.status).toBe(200);
  expect(await again.json()).toEqual({ ...first });
  const changes = [
    withCode(serverOf(ONE_TOOL, 'other')),
    { ...withCode(serverOf(ONE_TOOL)), pricing: { model: 'per_call', amount_mcents: 11 } },
    { ...withCode(serverOf(ONE_TOOL)), description: 'Another description' },
    { ...withCode(serverOf(ONE_TOOL)), version: '0.9.0' },
    { ...withCode(serverOf(ONE_TOOL)), version: '1.0.0-rc.1' },
  ];
  for (const change of changes) {
    await expectProblem(await put(first.id, submission(name, change)), 409, 'conflict');
  }
  const renamed = submission(newName(), { ...withCode(serverOf(ONE_TOOL)), version: '2.0.0' });
  await expectProblem(await put(first.id, renamed), 409, 'conflict');
  const listing = await gateway.fetch(`/mcp/${first.id}`);
  expect(await listing.json()).toMatchObject({ version: '1.0.0', code_hash: first.code_hash });
});

test('the same new version sent 5 times at once is published once', async () => {
  const name = newName();
  const { id } = await readBody(await post(submission(name, withCode(serverOf(ONE_TOOL)))));
  const next = submission(name, { ...withCode(serverOf(ONE_TOOL, 'next')), version: '1.1.0' });
  const responses = await Promise.all(times(5, () => put(id, next)));
  expect(countByStatus(responses)).toEqual({ 200: 4, 201: 1 });
  const indexes = await Promise.all(responses.map(async (response) => (await readBody(response)).log_index));
  expect(new Set(indexes).size).toBe(1);
});

test('nobody adds a version to somebody else’s server, or learns from trying', async () => {
  const echo = await publishEcho(gateway);
  const next = submission(echo.name, { version: '9.0.0' });
  const attempts = [echo.id, echo.name, '00000000-0000-4000-8000-000000000000', 'nobody/nothing', '%00'];
  const details = new Set<string>();
  for (const id of attempts) {
    details.add((await expectProblem(await put(id, next), 404, 'not-found')).detail);
  }
  expect(details.size).toBe(1);
  const listing = await gateway.fetch(`/mcp/${echo.id}`);
  expect(await listing.json()).toMatchObject({ version: '1.0.0' });
});
