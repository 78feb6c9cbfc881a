import { createHash, createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type CallTokenJwk, createCallTokens } from '../../src/execution/backends/remote-mcp/index.ts';
import { createMillicentVerifier, protectFetch, protectNode } from '../../src/sdk/server/index.ts';
import { runGo } from '../harness/go.ts';
import { type Language, prepare, type TestVerifier, type Verdict } from './verifiers.ts';

const ISSUER = 'https://gateway.example';
const AUDIENCE = '01980000-0000-7000-8000-0000000000aa';
const NOW = 1_900_000_000;
const BODY = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"größe"}}';
const CALLER = { subject: 'payer-7', tier: 'key' as const, requestDigest: 'ab'.repeat(32) };
const [OLD, NEW, STRANGER] = [1, 2, 3].map((byte) => Buffer.alloc(32, byte));

const tokensOf = (secrets: (Buffer | undefined)[], issuer = ISSUER, at = NOW) =>
  createCallTokens({
    ...{ secrets: secrets.filter((secret) => secret !== undefined), issuer },
    clock: { now: () => new Date(at * 1000) },
  });
const signBy = (tokens: ReturnType<typeof tokensOf>, body = BODY, audience = AUDIENCE) =>
  tokens.sign({ audience, caller: CALLER, body });
const gateway = tokensOf([OLD]);

const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/** A gateway's key set over HTTP, which can change, fail, and count who asks. */
async function serveKeys() {
  const state = { keys: gateway.jwks().keys as CallTokenJwk[], status: 200, asked: 0 };
  const server = createServer((_, response) => {
    state.asked += 1;
    // A key of another purpose stands beside ours, as it does at a gateway.
    const others = [{ kty: 'RSA', kid: 'rsa', n: 'x', e: 'AQAB' }];
    response.writeHead(state.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ keys: [...others, ...state.keys] }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It listens on TCP, so its address is one.
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    server.closeAllConnections();
    server.close();
  };
  open.push({ close });
  return { state, url: `http://127.0.0.1:${port}/jwks.json` };
}

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const partsOf = (token: string) => {
  const [header = '', payload = '', signature = ''] = token.split('.');
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
  return { header: read(header), payload: read(payload), signature };
};

/** The same token with another header or payload, signed by whom we like. */
function resign(
  token: string,
  change: { header?: object; payload?: object },
  key = generateKeyPairSync('ed25519').privateKey,
) {
  const { header, payload } = partsOf(token);
  const input = `${encode({ ...header, ...change.header })}.${encode({ ...payload, ...change.payload })}`;
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`;
}

/** HS256 with the public key as its secret: the classic confusion. */
function signWithPublicKey(token: string): string {
  const { header, payload } = partsOf(token);
  const input = `${encode({ ...header, alg: 'HS256' })}.${encode(payload)}`;
  const key = Buffer.from(gateway.jwks().keys[0]?.x ?? '', 'base64url');
  return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`;
}

const good = () => signBy(gateway);

/** What is shown, and what every library must say of it. */
const CASES: [
  name: string,
  verdict: string,
  authorization: () => string,
  change?: { body?: string; now?: number },
][] = [
  ['a token of the gateway for this body', 'ok', () => `Bearer ${good()}`],
  ['the same in the last second that clocks may differ', 'ok', () => `Bearer ${good()}`, { now: NOW + 929 }],
  ['no token', 'missing', () => ''],
  ['another scheme', 'missing', () => `Basic ${good()}`],
  ['a token that is none', 'malformed', () => 'Bearer abc'],
  ['a header that is not JSON', 'malformed', () => 'Bearer YWJj.YWJj.YWJj'],
  ['an expired token', 'expired', () => `Bearer ${good()}`, { now: NOW + 931 }],
  ['a token of the future', 'not-yet', () => `Bearer ${good()}`, { now: NOW - 60 }],
  [
    'a token for another server',
    'audience',
    () => `Bearer ${signBy(gateway, BODY, AUDIENCE.replace('aa', 'bb'))}`,
  ],
  [
    'a token of another gateway',
    'issuer',
    () => `Bearer ${signBy(tokensOf([OLD], 'https://other.example'))}`,
  ],
  ['a token signed with an unknown key', 'key', () => `Bearer ${signBy(tokensOf([STRANGER]))}`],
  ['a known key id with another signature', 'signature', () => `Bearer ${resign(good(), {})}`],
  [
    'a changed payload under the old signature',
    'signature',
    () => {
      const { header, payload, signature } = partsOf(good());
      return `Bearer ${encode(header)}.${encode({ ...payload, sub: 'somebody' })}.${signature}`;
    },
  ],
  [
    'alg none without a signature',
    'algorithm',
    () => {
      const { header, payload } = partsOf(good());
      return `Bearer ${encode({ ...header, alg: 'none' })}.${encode(payload)}.`;
    },
  ],
  ['HS256 with the public key as secret', 'algorithm', () => `Bearer ${signWithPublicKey(good())}`],
  ['a body that was tampered with', 'body', () => `Bearer ${good()}`, { body: BODY.replace('call', 'cell') }],
  ['a body with one blank more', 'body', () => `Bearer ${good()}`, { body: `${BODY} ` }],
];

describe.each<Language>(['TypeScript', 'Python', 'Go'])('%s', (language) => {
  let start: Awaited<ReturnType<typeof prepare>>;
  beforeAll(async () => {
    start = await prepare(language);
  }, 300_000);
  const startFor = (jwksUrl: string): TestVerifier => {
    const verifier = start({ issuer: ISSUER, audience: AUDIENCE, jwksUrl });
    open.push(verifier);
    return verifier;
  };
  const show = (verifier: TestVerifier, token: string, now = NOW): Promise<Verdict> =>
    verifier.verify({ now, authorization: `Bearer ${token}`, body: BODY });

  test.each(CASES)('%s: %s', async (_, verdict, authorization, change) => {
    const { url } = await serveKeys();
    const shown = { now: NOW, body: BODY, authorization: authorization(), ...change };
    expect((await startFor(url).verify(shown)).verdict).toBe(verdict);
  });

  test('what the gateway says of the caller is read', async () => {
    const { url } = await serveKeys();
    const token = good();
    const { jti } = partsOf(token).payload;
    expect(await show(startFor(url), token)).toEqual({
      ...{ verdict: 'ok', call: [AUDIENCE, 'payer-7', 'key', jti, CALLER.requestDigest] },
    });
  });

  test('a token is good for one request', async () => {
    const { url } = await serveKeys();
    const verifier = startFor(url);
    const token = good();
    const verdicts = [await show(verifier, token), await show(verifier, token), await show(verifier, good())];
    expect(verdicts.map(({ verdict }) => verdict)).toEqual(['ok', 'replayed', 'ok']);
  });

  test('a rotated key is fetched when it is first seen, the old one is good while it is listed, and not after', async () => {
    const { state, url } = await serveKeys();
    const verifier = startFor(url);
    expect((await show(verifier, good())).verdict).toBe('ok');
    const rotated = tokensOf([NEW, OLD], ISSUER, NOW + 60);
    state.keys = rotated.jwks().keys;
    expect((await show(verifier, signBy(rotated), NOW + 60)).verdict).toBe('ok');
    expect((await show(verifier, good(), NOW + 60)).verdict).toBe('ok');
    expect(state.asked).toBe(2);
    state.keys = tokensOf([NEW]).jwks().keys;
    const later = NOW + 60 + 601;
    expect((await show(verifier, signBy(tokensOf([OLD], ISSUER, later)), later)).verdict).toBe('key');
    expect(state.asked).toBe(3);
  });

  test('who makes up key ids makes nobody ask the gateway again and again', async () => {
    const { state, url } = await serveKeys();
    const verifier = startFor(url);
    for (let count = 0; count < 20; count += 1) {
      const token = resign(good(), { header: { kid: `made-up-${count}` } });
      expect((await show(verifier, token, NOW + count)).verdict).toBe('key');
    }
    expect(state.asked).toBe(1);
    await show(verifier, resign(good(), { header: { kid: 'another' } }), NOW + 31);
    expect(state.asked).toBe(2);
  });

  test('keys that were fetched outlive a gateway that is down; without any, nothing is believed', async () => {
    const { state, url } = await serveKeys();
    const verifier = startFor(url);
    expect((await show(verifier, good())).verdict).toBe('ok');
    state.status = 503;
    const later = NOW + 1_200;
    expect((await show(verifier, signBy(tokensOf([OLD], ISSUER, later)), later)).verdict).toBe('ok');
    expect((await show(startFor(url), good())).verdict).toBe('keys-unavailable');
    const tomorrow = NOW + 25 * 3_600;
    expect((await show(verifier, signBy(tokensOf([OLD], ISSUER, tomorrow)), tomorrow)).verdict).toBe(
      'keys-unavailable',
    );
  });
});

test('Go finds nothing wrong with its library', async () => {
  await prepare('Go');
  expect(runGo(join(import.meta.dirname, '../../src/sdk/go'), ['vet', './...'])).toBe('');
});

test('the key id is the thumbprint of the key, and every gateway of a deployment signs with the same key', () => {
  const [first, second] = tokensOf([NEW, OLD]).jwks().keys;
  const thumbprint = createHash('sha256')
    .update(`{"crv":"Ed25519","kty":"OKP","x":"${first?.x}"}`)
    .digest('base64url');
  expect(first?.kid).toBe(thumbprint);
  expect(second).toEqual(gateway.jwks().keys[0]);
  expect(partsOf(signBy(tokensOf([NEW, OLD]))).header).toEqual({
    alg: 'EdDSA',
    typ: 'mcp-call+jwt',
    kid: first?.kid,
  });
});

test('a token lives fifteen minutes, and binds the bytes of the body and the call that was bought', () => {
  const { payload } = partsOf(good());
  expect(payload).toEqual({
    ...{ iss: ISSUER, aud: AUDIENCE, sub: 'payer-7', tier: 'key', iat: NOW, exp: NOW + 900 },
    jti: expect.stringMatching(/^[\w-]{22}$/),
    req: createHash('sha256').update(BODY).digest('base64url'),
    call: CALLER.requestDigest,
  });
  expect(partsOf(gateway.sign({ audience: AUDIENCE, caller: undefined, body: '' })).payload).toMatchObject({
    ...{ sub: 'gateway', tier: 'gateway' },
  });
});

test('handlers of web requests and of node:http are reached by the gateway only, with the body unread', async () => {
  const { url } = await serveKeys();
  const verify = createMillicentVerifier({
    issuer: ISSUER,
    audience: AUDIENCE,
    jwksUrl: url,
    now: () => new Date(NOW * 1000),
  });
  const onFetch = protectFetch(verify, async (request, { subject }) =>
    Response.json([subject, await request.text()]),
  );
  const send = (authorization: string, body = BODY) =>
    onFetch(new Request('https://server.example/mcp', { method: 'POST', headers: { authorization }, body }));
  expect(await (await send(`Bearer ${good()}`)).json()).toEqual(['payer-7', BODY]);
  const refused = await send(`Bearer ${good()}`, '{}');
  expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
    401,
    'Bearer error="invalid_token"',
  ]);
  expect((await send('', 'x'.repeat(5_000_000))).status).toBe(413);

  const server = createServer(
    protectNode(verify, (_, response, { call, body }) => void response.end(call.subject + body.length)),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({ close: async () => server.close() });
  const { port } = server.address() as AddressInfo;
  const post = (authorization: string) =>
    fetch(`http://127.0.0.1:${port}/`, { method: 'POST', headers: { authorization }, body: BODY });
  expect(await (await post(`Bearer ${good()}`)).text()).toBe(`payer-7${Buffer.byteLength(BODY)}`);
  expect((await post('Bearer x.y.z')).status).toBe(401);
});
