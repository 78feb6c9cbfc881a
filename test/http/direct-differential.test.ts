import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { newKeyText } from '../../src/keys/index.ts';
import { expectBalancedBooks } from '../e2e/surface.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { connectRaw } from '../harness/raw-client.ts';

/** One gateway by its direct ways, and one with every request sent the general way. */
let direct: TestGateway;
let general: TestGateway;
let database: TestDatabase;
let anvil: Anvil;
let keys: Record<'good' | 'empty' | 'noScope' | 'revoked' | 'unknown', string>;

const HOST = 'gateway.example:8402';
const ROUNDS = 1_000;

beforeAll(async () => {
  [database, anvil] = await Promise.all([createTestDatabase({ poolMax: 4 }), startAnvil({ log: silentLog })]);
  const env = {
    ...{ RATE_KEY_PER_SECOND: '0', RATE_PAYER_PER_SECOND: '0', RATE_ADDRESS_PER_SECOND: '0' },
    ...{ RATE_WRONG_KEYS_PER_SECOND: '0', TRUSTED_PROXIES: '127.0.0.1' },
  };
  const options = { database, anvil, env, publicUrl: `http://${HOST}` };
  direct = await startTestGateway(options);
  general = await startTestGateway({ ...options, around: (_request, answer) => answer() });
  const revoked = await direct.mint(10_000);
  keys = {
    ...{ good: await direct.mint(100_000_000), empty: await direct.mint(1), unknown: newKeyText() },
    ...{ noScope: await direct.mint(10_000, ['read']), revoked },
  };
  const headers = { authorization: `Bearer ${revoked}` };
  const { keys: listed } = (await (await direct.fetch('/v1/keys', { headers })).json()) as {
    keys: { id: string }[];
  };
  await direct.fetch(`/v1/keys/${listed[0]?.id}/revoke`, { method: 'POST', headers });
});
afterAll(async () => {
  await expectBalancedBooks(direct);
  await Promise.all([direct?.close(), general?.close()]);
  await anvil?.close();
  await database?.close();
});

const often = <T>(usual: T, ...others: T[]) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant(usual) },
    { weight: 2, arbitrary: fc.constantFrom(...others) },
  );

const method = often('GET', 'HEAD', 'POST', 'OPTIONS', 'PUT', 'get', 'TRACE');
const target = often(
  '/v1/example',
  ...['/v1/example?', '/v1/example?name=one', '/v1/example/', '/v1/%65xample', '//v1/example', '/V1/example'],
  ...[`http://${HOST}/v1/example`, 'http://evil.example/v1/example', '/v1/./example', '/v1/x/../example'],
  ...['/v1/example#part', '/v1/example;a=b', '/v1/example%00', '*', '/v1/health', '/v1/ex\u00e4mple'],
);
const host = often(
  `Host: ${HOST}`,
  ...[
    'Host: a',
    'Host: A.EXAMPLE',
    'host:b',
    'HOST:   c.example:80',
    'Host: ',
    'Host: a b',
    'Host: [::1]:8080',
  ],
  ...['Host: a/b', 'Host: a@b', 'Host: a:99999', 'Host: \u00e4', `Host: ${HOST}\r\nHost: b`, 'X-Nothing: 1'],
);
const REQUEST_IDS = [
  'named-by-caller',
  'short',
  `${'x'.repeat(65)}`,
  'a\tb-cdefgh',
  '\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4',
  '<script>alert',
  '%0d%0aX: 1',
];
const extra = fc.constantFrom(
  ...REQUEST_IDS.map((id) => `X-Request-Id: ${id}`),
  ...[
    'User-Agent: one',
    'user-agent: \u00e4',
    'Accept: */*',
    'ACCEPT: text/html',
    'Accept: text/event-stream',
  ],
  ...['Accept-Encoding: gzip, br', 'Accept-Language: de', 'Sec-Fetch-Mode: cors', 'Cache-Control: no-cache'],
  ...[
    'Pragma: no-cache',
    'Forwarded: for=1.2.3.4',
    'Via: 1.1 a',
    'X-Forwarded-For: 192.0.2.1',
    'X-Real-Ip: 1',
  ],
  ...[
    'X-Forwarded-For: nonsense',
    'x-forwarded-for: 192.0.2.1, 198.51.100.1',
    'X-Forwarded-Host: evil.example',
  ],
  ...['X-Forwarded-Proto: https', 'X-Forwarded-Port: 1', 'Traceparent: 00-1-2-01', 'Tracestate: a=b'],
  ...[
    'Origin: https://evil.example',
    'Cookie: a=b',
    'Prefer: receipt',
    'Accept-Payment: tempo',
    'X-Api-Key: no',
  ],
  ...[
    'Content-Type: application/json',
    'Content-Length: 0',
    'Range: bytes=0-1',
    'If-None-Match: *',
    'TE: trailers',
  ],
  ...[
    'Idempotency-Key: ',
    'Payment-Signature: e30=',
    'X-Payment: e30=',
    'X-Nothing: 1',
    'Connection: keep-alive',
  ],
  ...['Connection: TE', 'Keep-Alive: timeout=1', 'Expect: 100-continue', 'Expect: miracles', 'Upgrade: h2c'],
);
const authorization = fc
  .tuple(often('none', 'good', 'empty', 'noScope', 'revoked', 'unknown'), fc.nat({ max: 9 }))
  .map(([name, form]) => {
    if (name === 'none') return form < 8 ? '' : 'Authorization: ';
    const key = keys[name as keyof typeof keys];
    const odd = [`bearer ${key}`, `Bearer  ${key}`, key, `Bearer ${key.toUpperCase()}`, `Payment ${key}`];
    return `${form === 9 ? 'AUTHORIZATION' : 'Authorization'}: ${odd[form] ?? `Bearer ${key}`}`;
  });
const version = often('1.1', '1.0');
/** Two that are empty come together as one that is not: both gateways would be asked for one and the same call. */
const extras = fc
  .array(extra, { maxLength: 4 })
  .filter((lines) => lines.filter((line) => line.startsWith('Idempotency-Key')).length < 2);
const request = fc
  .tuple(method, target, version, host, authorization, extras)
  .map(([verb, path, number, ...lines]) =>
    [`${verb} ${path} HTTP/${number}`, ...lines.flat().filter((line) => line !== '')].join('\r\n'),
  );

type Told = { status: number; headers: string[]; body: unknown };

/** All that comes for these requests on one connection, the last of which ends it. */
async function ask(gateway: TestGateway, requests: readonly string[]): Promise<Told[]> {
  const client = await connectRaw(gateway.url);
  const last = `GET /v1/health HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close`;
  client.socket.write(Buffer.from([...requests, last].map((head) => `${head}\r\n\r\n`).join(''), 'latin1'));
  const text = await new Promise<string>((done) => client.socket.once('close', () => done(client.text())));
  return text.split(/(?=HTTP\/1\.1 \d{3} )/).map(read);
}

const UNREADABLE = 'This is no request of HTTP/1.1.';

/**
 * What cannot be read ends a connection: it is refused when all before it is answered, and else the last answer before
 * it is the last. So how many answers there are tells how soon they were there, and only those of both are compared.
 */
async function comparable(
  requests: readonly string[],
  ours: Told[],
  theirs: Told[],
): Promise<[ours: Told[], theirs: Told[]]> {
  const shorter = Math.min(ours.length, theirs.length);
  if (ours.length === theirs.length || !(await isAnyUnreadable(requests))) return [ours, theirs];
  expect(shorter).toBeGreaterThan(0);
  return [ours.slice(0, shorter), theirs.slice(0, shorter)];
}

async function isAnyUnreadable(requests: readonly string[]): Promise<boolean> {
  for (const request of requests) {
    const [first] = await ask(general, [request]);
    if ((first?.body as { detail?: string } | undefined)?.detail === UNREADABLE) return true;
  }
  return false;
}

const TOKEN = /q3\.[A-Za-z0-9_-]{108}/g;
const TIME = /20\d\d-\d\d-\d\dT[\d:.]+Z/g;
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

function read(answer: string): Told {
  const [head = '', body = ''] = answer.split(/\r\n\r\n(.*)/s);
  const [status = '', ...lines] = head.split('\r\n');
  const stated = /content-length: (\d+)/i.exec(head)?.[1];
  // Nothing more and nothing less than was announced, but for what has no body at all.
  if (stated !== undefined && body !== '') expect(body.length).toBe(Number(stated));
  // How soon a connection learns that it ends with an answer is no part of the answer.
  const headers = lines
    .filter((line) => !/^(?:date|content-length|connection|keep-alive):/i.test(line))
    .map((line) => `${line.slice(0, line.indexOf(':')).toLowerCase()}${line.slice(line.indexOf(':'))}`)
    .map(toCommon)
    .sort();
  const {
    receipt_id: _id,
    receipt: _receipt,
    balance_mcents: _balance,
    ...members
  } = body === '' ? {} : toMembers(body);
  return { status: Number(status.split(' ')[1]), headers, body: members };
}

function toMembers(body: string): Record<string, unknown> {
  const text = toPlain(Buffer.from(body, 'latin1').toString());
  return text.startsWith('{') ? JSON.parse(text) : { text };
}

/** What the quote and its time make of a text is taken out of it. */
const toPlain = (text: string) => text.replace(TOKEN, 'QUOTE').replace(TIME, 'TIME').replace(UUID, 'ID');

function toCommon(line: string): string {
  const asked = /^payment-required: (.*)$/.exec(line)?.[1];
  if (asked !== undefined) return `payment-required: ${toPlain(Buffer.from(asked, 'base64').toString())}`;
  const said = line.replace(/opaque="([^"]*)"/g, (_all, opaque: string) => {
    return `opaque="${toPlain(Buffer.from(opaque, 'base64url').toString())}"`;
  });
  return toPlain(said.replace(/\bid="[A-Za-z0-9_-]+"/g, 'id="MAC"'));
}

test('whatever is asked for is answered alike by the direct ways and by the general one', async () => {
  const statuses = new Map<number, number>();
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), async (requests) => {
      const [ours, theirs] = await Promise.all([ask(direct, requests), ask(general, requests)]);
      const [our, their] = await comparable(requests, ours, theirs);
      expect(our).toEqual(their);
      for (const { status } of ours) statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }),
    { numRuns: ROUNDS },
  );
  // All of these were really met, and not one refusal again and again.
  for (const status of [200, 400, 401, 402, 403, 404, 405])
    expect([status, statuses.get(status) ?? 0]).not.toEqual([status, 0]);
}, 120_000);
