import { once } from 'node:events';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { isCallableAddress } from '../../src/execution/backends/remote-mcp/endpoint-address.ts';
import {
  createOwnership,
  type OwnershipDeps,
  type Resolve,
  readEndpoint,
} from '../../src/execution/backends/remote-mcp/index.ts';
import { TEST_TLS } from '../harness/tls.ts';
import {
  callTool,
  DISCOVERED,
  ISSUER,
  keepWarnings,
  makeRemote,
  SECRET,
  startEndpoint,
  startModern,
  textOf,
} from './remote-harness.ts';

const open: { close(): Promise<void> }[] = [];
const keep = <T extends { close(): Promise<void> }>(thing: T): T => {
  open.push(thing);
  return thing;
};
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const NEVER = new AbortController().signal;
const PRODUCTION = { allowLoopback: false, ownUrl: ISSUER };
const resolveTo =
  (...addresses: string[]): Resolve =>
  async () =>
    addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

test('only https addresses of the open Internet are endpoints, however they are spelled', () => {
  const refused = [
    ...['http://example.com/mcp', 'ftp://example.com/', 'file:///etc/passwd', 'example.com/mcp', '//x', ''],
    ...['https://user@example.com/', 'https://user:pw@example.com/', 'https://example.com/#x'],
    ...['https://127.0.0.1/', 'https://127.1/', 'https://0x7f.0.0.1/', 'https://2130706433/', 'https://0/'],
    ...['https://10.0.0.1/', 'https://192.168.1.1/', 'https://172.16.0.1/', 'https://169.254.169.254/'],
    ...['https://[::1]/', 'https://[::ffff:127.0.0.1]/', 'https://[fd00::1]/', 'https://[fe80::1]/'],
    ...['https://[64:ff9b::7f00:1]/', 'https://100.100.100.200/', 'https://0177.0.0.1/'],
    ...['https://example.com:22/', 'https://example.com:6379/', 'https://example.com:5432/'],
    ...['https://example.com:25/', `https://example.com/${'x'.repeat(2_048)}`, `${ISSUER}/mcp/loop`],
  ];
  const through = refused.filter((url) => readEndpoint(url, PRODUCTION).kind === 'ok');
  expect(through).toEqual([]);
  const fine = [
    'https://example.com/mcp',
    'https://example.com:8443/mcp?x=1',
    'https://1.1.1.1/',
    'https://[2606:4700::1111]/',
  ];
  expect(fine.filter((url) => readEndpoint(url, PRODUCTION).kind !== 'ok')).toEqual([]);
});

test('the development switch opens this machine, and nothing else', () => {
  const development = { allowLoopback: true };
  for (const url of [
    'http://127.0.0.1:1234/mcp',
    'http://localhost:1234/',
    'http://[::1]:1234/',
    'https://example.com/',
  ]) {
    expect(readEndpoint(url, development).kind, url).toBe('ok');
  }
  for (const url of [
    'http://example.com/',
    'http://10.0.0.1/',
    'https://10.0.0.1/',
    'http://169.254.169.254/',
  ]) {
    expect(readEndpoint(url, development).kind, url).toBe('refused');
  }
  expect(isCallableAddress('127.0.0.1', { allowLoopback: false })).toBe(false);
});

test('the development switch says so in the log', () => {
  const log = keepWarnings();
  keep(makeRemote({ log }));
  expect(log.warnings).toEqual([expect.stringContaining('REMOTE_ALLOW_LOOPBACK')]);
  keep(makeRemote({ log, allowLoopback: false }));
  expect(log.warnings).toHaveLength(1);
});

test('a name is not called when any of its addresses is private', async () => {
  const endpoint = keep(await startModern(() => undefined));
  const port = new URL(endpoint.url).port;
  for (const addresses of [
    ['127.0.0.1'],
    ['10.0.0.7'],
    ['169.254.169.254'],
    ['1.1.1.1', '127.0.0.1'],
    ['::1'],
  ]) {
    const remote = keep(makeRemote({ allowLoopback: false, resolve: resolveTo(...addresses) }));
    const answer = await callTool(remote, `https://rebind.example:${port}/mcp`, 'x');
    expect(answer).toMatchObject({
      ...{ kind: 'failed', reason: 'unreachable' },
      detail: 'The endpoint resolves to an address that is not of the open Internet.',
    });
  }
  expect(endpoint.connections()).toBe(0);
});

test('a name that resolves differently the next time is checked anew', async () => {
  const server = createSecureServer(TEST_TLS, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { id, method } = JSON.parse(Buffer.concat(chunks).toString());
    const result =
      method === 'server/discover' ? DISCOVERED : { content: [{ type: 'text', text: 'served' }] };
    response.setHeader('content-type', 'application/json').setHeader('connection', 'close');
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It listens on TCP, so its address is one.
  const { port } = server.address() as AddressInfo;
  let connections = 0;
  server.on('connection', () => {
    connections += 1;
  });
  let address = '127.0.0.1';
  const resolve: Resolve = async () => [{ address, family: 4 }];
  // Loopback stands in for the open Internet here; what rebinds is then of neither.
  const remote = keep(makeRemote({ resolve, ca: TEST_TLS.cert }));
  const url = `https://api.allowed.test:${port}/mcp`;
  expect(textOf(await callTool(remote, url, 'x'))).toBe('served');
  const before = connections;
  address = '169.254.169.254';
  expect(await callTool(remote, url, 'x')).toMatchObject({ kind: 'failed', reason: 'unreachable' });
  expect(connections).toBe(before);
  server.close();
});

test('a certificate that nobody vouches for, or of another name, is refused', async () => {
  const server = createSecureServer(TEST_TLS, (_, response) => response.end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  for (const [host, ca] of [
    ['api.allowed.test', undefined],
    ['another.test', TEST_TLS.cert],
  ]) {
    const remote = keep(makeRemote({ resolve: resolveTo('127.0.0.1'), ...(ca === undefined ? {} : { ca }) }));
    const answer = await callTool(remote, `https://${host}:${port}/`, 'x');
    expect(answer).toMatchObject({ kind: 'failed', reason: 'unreachable' });
    expect(textOf(answer)).toMatch(/certificate or TLS/);
  }
  server.close();
});

test('a name that does not resolve, or never does, is unreachable within seconds', async () => {
  const failing: Resolve = async () => {
    throw Object.assign(new Error('no'), { code: 'ENOTFOUND' });
  };
  const silent: Resolve = () => new Promise(() => {});
  const calls = [failing, silent, resolveTo()].map((resolve) =>
    callTool(keep(makeRemote({ allowLoopback: false, resolve })), 'https://nowhere.example/', 'x'),
  );
  expect((await Promise.all(calls)).map((answer) => answer.kind === 'failed' && answer.detail)).toEqual([
    'The endpoint has a host name that does not resolve.',
    'The endpoint did not accept a connection in time.',
    'The endpoint has no address.',
  ]);
});

const PUBLISHER = '01980000-0000-7000-8000-0000000000bb';
const makeOwnership = (options: Partial<OwnershipDeps> = {}) =>
  keep(createOwnership({ secrets: [SECRET], allowLoopback: true, ...options }));

/** An origin that serves these texts. */
async function startOrigin(texts: Map<string, string>) {
  return keep(
    await startEndpoint((request, response) => {
      const text = texts.get(request.url ?? '');
      response.writeHead(text === undefined ? 404 : 200).end(text);
    }),
  );
}

test("an origin that serves the challenge is its publisher's, and nobody else's", async () => {
  const texts = new Map<string, string>();
  const origin = await startOrigin(texts);
  const ownership = makeOwnership();
  const ask = (publisherId: string) => ownership.prove({ publisherId, endpointUrl: origin.url }, NEVER);
  expect(await ask(PUBLISHER)).toMatchObject({
    kind: 'unproven',
    detail: expect.stringContaining('HTTP 404'),
  });
  const challenge = ownership.challengeFor(PUBLISHER, origin.url);
  expect(challenge.url).toMatch(
    /^http:\/\/127\.0\.0\.1:\d+\/\.well-known\/millicent-challenge\/[0-9a-f]{32}$/,
  );
  texts.set(new URL(challenge.url).pathname, `${challenge.body}\n`);
  expect(await ask(PUBLISHER)).toEqual({ kind: 'proven' });
  expect(await ask('01980000-0000-7000-8000-0000000000cc')).toMatchObject({ kind: 'unproven' });
  const elsewhere = await startOrigin(texts);
  expect(await ownership.prove({ publisherId: PUBLISHER, endpointUrl: elsewhere.url }, NEVER)).toMatchObject({
    kind: 'unproven',
  });
});

test('a challenge of before the secret was rotated still proves', async () => {
  const texts = new Map<string, string>();
  const origin = await startOrigin(texts);
  const { url, body } = makeOwnership().challengeFor(PUBLISHER, origin.url);
  texts.set(new URL(url).pathname, body);
  const rotated = makeOwnership({ secrets: [Buffer.alloc(32, 9), SECRET] });
  expect(await rotated.prove({ publisherId: PUBLISHER, endpointUrl: origin.url }, NEVER)).toEqual({
    kind: 'proven',
  });
});

test('echoes, redirects, long texts and private addresses prove nothing', async () => {
  const ownership = makeOwnership();
  const echo = keep(await startEndpoint((request, response) => void response.end(request.url)));
  const elsewhere = keep(
    await startEndpoint(
      (_, response) => void response.writeHead(302, { location: 'https://example.com' }).end(),
    ),
  );
  const long = keep(await startEndpoint((_, response) => void response.end('x'.repeat(5_000))));
  for (const { url, seen } of [echo, elsewhere, long]) {
    expect(await ownership.prove({ publisherId: PUBLISHER, endpointUrl: url }, NEVER)).toMatchObject({
      kind: 'unproven',
    });
    expect(seen).toHaveLength(1);
  }
  const strict = makeOwnership({ allowLoopback: false, resolve: resolveTo('127.0.0.1') });
  for (const endpointUrl of [echo.url, 'https://private.example/mcp']) {
    expect(await strict.prove({ publisherId: PUBLISHER, endpointUrl }, NEVER)).toMatchObject({
      kind: 'unproven',
    });
  }
  expect(echo.seen).toHaveLength(1);
});
