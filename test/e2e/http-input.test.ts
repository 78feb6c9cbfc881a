import { Agent as HttpAgent, request } from 'node:http';
import { Hono } from 'hono';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { silentLog } from '../../src/core/log.ts';
import { BODY_BYTES_MAX, readBody } from '../../src/http/body.ts';
import type { Env } from '../../src/http/index.ts';
import { answerProblem } from '../../src/http/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody, publishEcho } from './fixtures.ts';
import {
  balanceOf,
  bearer,
  expectFreeProblem,
  expectProblem,
  type Surface,
  sendChunked,
  startSurface,
  times,
} from './surface.ts';

let surface: Surface;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;
let key: string;
let routes: Route[];

/** A route that reads a body, with what lets a caller through to it. */
type Route = { method: 'POST' | 'PUT'; path: string; headers: Record<string, string>; bytesMax: number };

beforeAll(async () => {
  surface = await startSurface();
  gateway = surface.gateway;
  echo = await publishEcho(gateway);
  key = await gateway.mint(1_000, ['all']);
  const KIB = 1024;
  const post = (path: string, headers: Record<string, string>, bytesMax: number): Route => ({
    ...{ method: 'POST', path, bytesMax, headers: { 'content-type': 'application/json', ...headers } },
  });
  routes = [
    post('/v1/signup', {}, 16 * KIB),
    post('/v1/topup', bearer(key), 16 * KIB),
    post('/v1/admin/mint', { 'x-admin-key': gateway.adminKey }, 16 * KIB),
    post('/v1/example', bearer(key), 16 * KIB),
    post(echo.call, bearer(key), 1024 * KIB),
    post('/mcp', bearer(key), 10 * 1024 * KIB),
    { ...post(`/mcp/${echo.id}`, bearer(echo.key), 10 * 1024 * KIB), method: 'PUT' },
  ];
});
afterAll(async () => {
  // Whatever was sent in this file was refused, so nobody paid for it.
  expect(await balanceOf(gateway, key)).toBe(1_000);
  await surface.close();
});

const send = ({ path, method, headers }: Route, body: string | Uint8Array) =>
  gateway.fetch(path, { method, headers, body });

const MIB = 1024 * 1024;

test('what is no JSON, or JSON that was cut off, is 400 on every route that reads a body', async () => {
  for (const route of routes) {
    for (const body of ['{"a":', '{"a":1,}', "{'a':1}", 'undefined', '{"a":NaN}', '[1,2', '{} {}']) {
      await expectFreeProblem(await send(route, body), 400, 'malformed-request');
    }
  }
});

test('a body that is not UTF-8 is 400 on every route', async () => {
  const broken = [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), Buffer.from('{"a":"é"}', 'latin1')];
  for (const route of routes) {
    for (const body of broken) {
      const { detail } = await expectFreeProblem(
        await send(route, new Uint8Array(body)),
        400,
        'malformed-request',
      );
      expect(detail).toMatch(/UTF-8/);
    }
  }
});

test('a body of another content type is 415 on every route', async () => {
  const types = [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'json',
  ];
  for (const route of routes) {
    for (const type of types) {
      const response = await send({ ...route, headers: { ...route.headers, 'content-type': type } }, '{}');
      // Code may come in a form, which this one is not.
      const isForm = type.startsWith('multipart/') && route.bytesMax > MIB;
      if (isForm) await expectFreeProblem(response, 400, 'malformed-request');
      else await expectFreeProblem(response, 415, 'unsupported-media-type');
    }
  }
});

test('JSON that nests too deep is 400 on every route, and one level less is never our own failure', async () => {
  const rich = await gateway.mint(10_000, ['all']);
  const nest = (levels: number) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;
  const call = (levels: number) => `{"tool":"random","arguments":${nest(levels)}}`;
  for (const route of routes) {
    for (const body of [nest(2_000), '['.repeat(8_000), `${'['.repeat(80)}${']'.repeat(80)}`, call(70)]) {
      await expectFreeProblem(await send(route, body), 400, 'malformed-request');
    }
  }
  // At the very limit a document is either too deep or it is not: anonymous or with a key, for every route.
  for (const levels of times(8, (index) => 60 + index)) {
    for (const headers of [{}, bearer(rich)]) {
      const example = await gateway.fetch('/v1/example', { ...jsonBody({}, headers), body: nest(levels) });
      expect([levels, [200, 402, 400].includes(example.status)]).toEqual([levels, true]);
      const hosted = await gateway.fetch(echo.call, { ...jsonBody({}, headers), body: call(levels) });
      expect([levels, [200, 402, 400].includes(hosted.status)]).toEqual([levels, true]);
    }
  }
});

test('a body of another shape is refused with the place named, and costs nothing', async () => {
  const wrong: [Route, unknown[]][] = [
    [route('/v1/signup'), [null, [], 'x', 3, { role: 'admin' }, { role: 1 }, { label: '' }, { balance: 1 }]],
    [
      route('/v1/topup'),
      [{}, null, [], { amount_mcents: '5000' }, { amount_mcents: 1_000.5 }, { amount_mcents: 5_000, x: 1 }],
    ],
    [route('/v1/example'), [null, [], 'hello', 7, true]],
    [
      route(echo.call),
      [
        ...[null, [], 'x', {}, { tool: 1 }, { tool: '' }, { tool: ['echo'] }, { tool: 'x'.repeat(129) }],
        ...[
          { tool: 'echo', arguments: [] },
          { tool: 'echo', arguments: 'text' },
        ],
        ...[
          { tool: 'echo', arguments: null },
          { tool: 'echo', arguments: {}, version: 1 },
        ],
        { tool: 'echo', arguments: { text: 'x' }, price_mcents: 0 },
      ],
    ],
  ];
  for (const [to, bodies] of wrong) {
    for (const body of bodies) {
      await expectFreeProblem(await send(to, JSON.stringify(body)), 400, 'malformed-request');
    }
  }
});

test('text that no database can hold is a 400, not our own failure', async () => {
  for (const label of ['a\u0000b', 'a\ud800b', 'a\nb']) {
    const mint = { balance_mcents: 1, scopes: ['read'], label };
    await expectFreeProblem(
      await send(route('/v1/admin/mint'), JSON.stringify(mint)),
      400,
      'malformed-request',
    );
    await expectFreeProblem(
      await send(route('/v1/signup'), JSON.stringify({ label })),
      400,
      'malformed-request',
    );
  }
  for (const query of ['category=%00', 'q=%00', 'q=%EF%BF%BE', "q='%22%5C%26!(", 'category=a%00b']) {
    const response = await gateway.fetch(`/mcp?${query}`);
    expect([query, [200, 400].includes(response.status)]).toEqual([query, true]);
  }
});

test('a body one byte over its limit is 413, and one at the limit is read', async () => {
  for (const to of routes) {
    const over = await send(to, ' '.repeat(to.bytesMax + 1));
    const { detail } = await expectFreeProblem(over, 413, 'body-too-large');
    expect(detail).toContain(String(to.bytesMax));
    const text = `{"nobody":"asked for this"${' '.repeat(to.bytesMax - 27)}}`;
    expect(Buffer.byteLength(text)).toBe(to.bytesMax);
    const headers = to.path === '/v1/example' ? { 'content-type': 'application/json' } : to.headers;
    expect((await send({ ...to, headers }, text)).status).not.toBe(413);
  }
});

test('a body over its limit is 413 also when it does not say its length', async () => {
  for (const to of routes) {
    const { status, body } = await sendChunked(gateway, to.path, { ...to, bytes: to.bytesMax + 1 });
    expect([to.path, status]).toEqual([to.path, 413]);
    expect(body).toMatchObject({ ok: false, note: 'no charge applied' });
  }
});

test('a refused body does not disturb what comes next on the same connection', async () => {
  const agent = new HttpAgent({ keepAlive: true, maxSockets: 1 });
  const statusOf = (path: string, body?: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      const headers = { 'content-type': 'application/json' };
      const method = body === undefined ? 'GET' : 'POST';
      const sent = request(gateway.url + path, { agent, method, headers }, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode));
      });
      sent.on('error', reject);
      sent.end(body);
    });
  expect(await statusOf('/v1/signup', ' '.repeat(64 * 1024))).toBe(413);
  expect(await statusOf('/v1/health')).toBe(200);
  expect(await statusOf('/v1/signup', '{"a":')).toBe(400);
  expect(await statusOf('/v1/health')).toBe(200);
  agent.destroy();
});

test('a body that stops in the middle is given up after its time and never taken for a whole one', async () => {
  vi.useFakeTimers();
  try {
    const answer = sendStream((stream) => stream.enqueue(Buffer.from('{}')));
    await vi.advanceTimersByTimeAsync(60_000);
    await expectFreeProblem(await answer, 400, 'malformed-request');
  } finally {
    vi.useRealTimers();
  }
});

test('a client that goes away in the middle of its body is not taken for a failure of ours', async () => {
  const answer = await sendStream((stream) => stream.error(new Error('aborted')));
  await expectFreeProblem(answer, 400, 'malformed-request');
});

/** What a route that reads a body makes of this one, without a socket that would add a rule of its own. */
async function sendStream(start: (stream: ReadableStreamDefaultController) => void): Promise<Response> {
  const app = new Hono<Env>();
  app.post('/', async (c) => c.json(await readBody(c, z.object({}), BODY_BYTES_MAX.key)));
  app.onError((error, c) => answerProblem(silentLog, error, c));
  const init: RequestInit = { method: 'POST', body: new ReadableStream({ start }), duplex: 'half' };
  return app.request('/', init, { requestId: 'a-request' });
}

test('an unknown tool, a server that is not there and a version that is not there are told apart', async () => {
  const call = { tool: 'echo', arguments: { text: 'x' } };
  const ask = (path: string, body: unknown) => gateway.fetch(path, jsonBody(body, bearer(key)));
  const { detail } = await expectFreeProblem(
    await ask(echo.call, { ...call, tool: 'ech0' }),
    422,
    'invalid-arguments',
  );
  expect(detail).toContain('echo');
  for (const id of [
    'nobody%2Fnothing',
    '00000000-0000-4000-8000-000000000000',
    'x',
    '%00',
    '..%2F..%2Fetc',
  ]) {
    await expectProblem(await ask(`/invoke/${id}`, call), 404, 'not-found');
  }
  for (const version of ['9.9.9', 'latest', '1.0', '\u0000', '1.0.0 OR 1=1']) {
    await expectProblem(await ask(echo.call, { ...call, version }), 404, 'not-found');
  }
});

test('arguments against the schema are 422 before any payment talk, whoever asks', async () => {
  const wrong = [{}, { text: 1 }, { text: 'x', more: 1 }, { text: 'x'.repeat(100_001) }, { text: null }];
  for (const args of wrong) {
    for (const headers of [{}, bearer(key)]) {
      const response = await gateway.fetch(echo.call, jsonBody({ tool: 'echo', arguments: args }, headers));
      const { detail } = await expectFreeProblem(response, 422, 'invalid-arguments');
      expect(detail).toMatch(/arguments/);
    }
  }
});

test('a parameter nobody filled in asks for nothing', async () => {
  const response = await gateway.fetch('/mcp?q=&category=&tier=&sort=&limit=&cursor=');
  expect(response.status).toBe(200);
  const { servers } = (await response.json()) as { servers: { name: string }[] };
  expect(servers.map(({ name }) => name).sort()).toEqual([echo.name, 'millicent'].sort());
});

test('odd queries are refused or answered, never failed', async () => {
  const headers = bearer(key);
  const odd = ['limit=0', 'limit=101', 'limit=x', 'limit=1.5', 'sort=best', 'tier=x', 'cursor=x', 'page=2'];
  for (const query of odd) {
    await expectProblem(await gateway.fetch(`/mcp?${query}`), 400, 'malformed-request');
  }
  for (const query of ['limit=0', 'limit=-1', 'limit=x', 'before=yesterday', 'cursor=%00']) {
    await expectProblem(await gateway.fetch(`/v1/calls?${query}`, { headers }), 400, 'malformed-request');
  }
  const unknown = [
    '/mcp/%00',
    '/mcp/nobody%2Fnothing',
    `/mcp/${echo.id}?version=%00`,
    '/receipts/%00',
    '/v2/x',
  ];
  for (const path of [...unknown, '/receipts/nothing', '/receipts/00000000-0000-4000-8000-000000000000']) {
    await expectProblem(await gateway.fetch(path), 404, 'not-found');
  }
});

test('a key in a header that is too long, or repeated, never fails the gateway', async () => {
  for (const value of [`Bearer ${'x'.repeat(8_000)}`, `Bearer ${key}, Bearer ${key}`]) {
    const response = await gateway.fetch('/v1/balance', { headers: { authorization: value } });
    await expectProblem(response, 401, 'unauthorized');
  }
  const idempotent = { ...bearer(key), 'idempotency-key': 'x'.repeat(256) };
  await expectFreeProblem(
    await gateway.fetch('/v1/example', { headers: idempotent }),
    400,
    'malformed-request',
  );
});

test('a payment that was tampered with in any place is 402 with a fresh challenge, and moves nothing', async () => {
  const agent = await createAgent(surface.anvil);
  const owned = await agent.owns();
  const ask = (value: string) => gateway.fetch('/v1/example', { headers: { 'payment-signature': value } });
  const { 'PAYMENT-SIGNATURE': signed = '' } = await agent.sign(await gateway.fetch('/v1/example'));
  const good = Buffer.from(signed, 'base64').toString();
  const places = [
    ...[['x402Version'], ['payload'], ['payload', 'signature'], ['payload', 'authorization'], ['accepted']],
    ...['from', 'to', 'value', 'validAfter', 'validBefore', 'nonce'].map((name) => [
      ...['payload', 'authorization', name],
    ]),
    ...['scheme', 'network', 'asset'].map((name) => ['accepted', name]),
    ...[
      ['extensions', 'millicent-quote'],
      ['extensions', 'millicent-quote', 'info', 'quote'],
    ],
  ];
  const hex = `0x${'ab'.repeat(32)}`;
  const values = [
    null,
    '',
    'x',
    '1',
    '-1',
    hex,
    `${hex}${'00'.repeat(33)}`,
    '9'.repeat(200),
    7,
    -1,
    [],
    {},
    true,
  ];
  for (const place of places) {
    for (const value of [...values, 'a\u0000b', '\ud800', nested(500)]) {
      const payload = JSON.parse(good);
      const last = place.at(-1) ?? '';
      const owner = place.slice(0, -1).reduce((node, name) => node[name], payload);
      owner[last] = value;
      const response = await ask(Buffer.from(JSON.stringify(payload)).toString('base64'));
      const body = await expectFreeProblem(response, 402, 'payment-required');
      expect([place, value, Array.isArray(body.accepts)]).toEqual([place, value, true]);
    }
  }
  for (const value of [
    '{}',
    'bnVsbA==',
    '////',
    signed.slice(0, -9),
    `${signed}${signed}`,
    'A'.repeat(15_000),
  ]) {
    await expectFreeProblem(await ask(value), 402, 'payment-required');
  }
  // Nothing of all that used the payment up.
  expect((await ask(signed)).status).toBe(200);
  expect(owned - (await agent.owns())).toBe(1_000n);
});

function nested(levels: number): unknown {
  return JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);
}

test('every answer is named by a request id: the one it was sent, when that is harmless', async () => {
  const ask = async (id?: string) => {
    const headers: Record<string, string> = id === undefined ? {} : { 'x-request-id': id };
    return (await gateway.fetch('/v1/health', { headers })).headers.get('x-request-id');
  };
  expect(await ask('job-42.attempt_1')).toBe('job-42.attempt_1');
  for (const id of [undefined, 'short', 'x'.repeat(65), 'has space in it', '<script>alert(1)</script>']) {
    expect(await ask(id)).toMatch(/^[0-9a-f-]{36}$/);
  }
});

test('pages of other origins may call every public route and read what a payment needs', async () => {
  const origin = { origin: 'https://agent.example' };
  const paths = [
    '/v1/signup',
    '/v1/topup',
    '/v1/example',
    '/v1/balance',
    echo.call,
    '/mcp',
    `/mcp/${echo.id}`,
  ];
  for (const path of paths) {
    const headers = { ...origin, 'access-control-request-method': 'POST' };
    const preflight = await gateway.fetch(path, { method: 'OPTIONS', headers });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*');
    expect(preflight.headers.get('access-control-allow-methods')).toMatch(/POST/);
    const allowed = preflight.headers.get('access-control-allow-headers')?.toLowerCase();
    for (const name of [
      'authorization',
      'content-type',
      'payment-signature',
      'idempotency-key',
      'x-api-key',
    ]) {
      expect(allowed).toContain(name);
    }
  }
  const answers = [
    await gateway.fetch('/v1/health', { headers: origin }),
    await gateway.fetch('/v1/example', { headers: origin }),
    await gateway.fetch('/v1/balance', { headers: origin }),
    await gateway.fetch('/nowhere', { headers: origin }),
    await gateway.fetch('/v1/signup', { ...jsonBody({}), body: ' '.repeat(20_000) }),
  ];
  expect(answers.map(({ status }) => status)).toEqual([200, 402, 401, 404, 413]);
  for (const { headers } of answers) {
    expect(headers.get('access-control-allow-origin')).toBe('*');
    const exposed = headers.get('access-control-expose-headers')?.toLowerCase();
    for (const name of ['payment-required', 'payment-response', 'payment-receipt', 'www-authenticate']) {
      expect(exposed).toContain(name);
    }
  }
});

test('no page of another origin may use the admin routes, however their path is spelled', async () => {
  const headers = { origin: 'https://evil.example', 'x-admin-key': gateway.adminKey };
  for (const path of ['/v1/admin/mint', '/v1/admin/ledger/check', '/v1/%61dmin/mint', '/v1/admin/nothing']) {
    for (const method of ['OPTIONS', 'GET', 'POST']) {
      const response = await gateway.fetch(path, { method, headers });
      expect([path, method, response.headers.get('access-control-allow-origin')]).toEqual([
        path,
        method,
        null,
      ]);
    }
  }
  for (const path of ['/v1/admin%2Fmint', '/v1//admin/mint', '/V1/ADMIN/mint', '/v1/admin/mint/']) {
    const mint = jsonBody({ balance_mcents: 1, scopes: ['read'] }, headers);
    await expectProblem(await gateway.fetch(path, mint), 404, 'not-found');
  }
});

function route(path: string): Route {
  const found = routes.find((candidate) => candidate.path === path);
  if (!found) throw new Error(`no route ${path}`);
  return found;
}
