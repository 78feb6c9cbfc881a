import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { fetch402, fetchWithL402 } from '@getalby/lightning-tools/402';
import { getRequestListener } from '@hono/node-server';
import fc from 'fast-check';
import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import type { Bolt11Offer } from '../../../src/payments/rail.ts';
import type { CredentialReading } from '../../../src/payments/wire.ts';
import { createL402Wire } from '../../../src/payments/wires/l402/index.ts';
import {
  decodeMacaroon,
  encodeMacaroon,
  isSignedBy,
  mintMacaroon,
} from '../../../src/payments/wires/l402/macaroon.ts';
import { quoteOf } from '../rails/conformance.ts';
import { carriedBy, describeWire } from './conformance.ts';

/** The reference implementation, which brings no types. */
type StockMacaroon = {
  addFirstPartyCaveat(caveat: string | Uint8Array): void;
  exportBinary(): Uint8Array;
  verify(rootKey: Uint8Array, check: (caveat: string) => string | null): void;
};
const stock = loadStock();

/** Its buffer doubles with every write, which four caveats bring to gigabytes: one comparison is mended. */
function loadStock(): {
  newMacaroon(terms: object): StockMacaroon;
  importMacaroon(bytes: Uint8Array): StockMacaroon;
} {
  const path = createRequire(import.meta.url).resolve('macaroon');
  const source = readFileSync(path, 'utf8').replace('minCap <= this._capacity', 'minCap <= this._buf.length');
  const module = { exports: {} as ReturnType<typeof loadStock> };
  new Function('module', 'exports', 'require', source)(module, module.exports, createRequire(path));
  return module.exports;
}

type Vector = { name: string; rootKey: string; identifier: string; location: string; caveats: string[] };
const vectors: (Vector & { binary: string })[] = JSON.parse(
  readFileSync(new URL('../../vectors/macaroons.json', import.meta.url), 'utf8'),
).macaroons;

const preimage = randomBytes(32);
const paymentHash = createHash('sha256').update(preimage).digest('hex');
const offer: Bolt11Offer = {
  kind: 'bolt11',
  // BOLT 11, examples: 250,000 sat for a cup of coffee.
  invoice:
    'lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh',
  paymentHash,
  sats: 250_000n,
  network: 'mainnet',
  isHold: false,
};

let now = new Date();
const clock = { now: () => now };
const secret = randomBytes(32);
const wireOf = (...secrets: Buffer[]) => createL402Wire({ secrets, clock, log: silentLog });
const wire = wireOf(secret);

const read = (authorization: string, by = wire) => by.read(carriedBy({ Authorization: authorization }));

function headerOf(quoteToken = 'q2.token', by = wire): string {
  const challenge = by.challenge({
    ...{ quote: quoteOf(), quoteToken, offers: [offer] },
    ...{ carried: carriedBy({}), refusal: undefined },
  });
  const [header] = challenge?.headers ?? [];
  if (header?.[0] !== 'WWW-Authenticate') throw new Error('no challenge');
  return header[1];
}

const parameter = (header: string, name: string) =>
  new RegExp(`\\b${name}="([^"]*)"`).exec(header)?.[1] ?? '';
const tokenOf = (quoteToken?: string, by = wire) => parameter(headerOf(quoteToken, by), 'token');

/** What a holder makes of a token: only ever adds. */
function withCaveat(token: string, ...caveats: string[]): string {
  const macaroon = stock.importMacaroon(Buffer.from(token, 'base64'));
  for (const caveat of caveats) macaroon.addFirstPartyCaveat(caveat);
  return Buffer.from(macaroon.exportBinary()).toString('base64');
}

/** A token of ours, rewritten byte by byte. */
function rewrite(token: string, change: (bytes: Buffer) => Buffer): string {
  return change(Buffer.from(token, 'base64')).toString('base64');
}

function expectCredential(reading: CredentialReading | undefined) {
  if (reading?.kind !== 'credential') throw new Error(JSON.stringify(reading));
  return reading.credential;
}

const proof = preimage.toString('hex');
const honest = tokenOf();

describeWire('l402', {
  wire,
  offers: [offer],
  credentialHeader: 'authorization',
  answer: async (challenge) => {
    const token = parameter(challenge.headers[0]?.[1] ?? '', 'token');
    return { headers: { authorization: `L402 ${token}:${proof}` }, quoteToken: 'echoed' };
  },
  foreign: [
    {},
    { authorization: '' },
    { authorization: 'Bearer mcp_0123456789abcdef0123456789abcdef0123456789abcdef' },
    { authorization: 'Payment eyJjaGFsbGVuZ2UiOnt9fQ' },
    { authorization: 'Basic TDQwMjpwYXNz' },
    { authorization: 'L4020 token:preimage' },
    { authorization: 'XL402 token:preimage' },
    { authorization: `Digest username="a, L402 ${honest}:${proof}"` },
    { 'payment-signature': 'e30=' },
    { 'www-authenticate': headerOf() },
  ],
  broken: [
    'L402',
    'LSAT ',
    'L402 :',
    `L402 :${proof}`,
    `L402 ${honest}`,
    `L402 ${honest}:${proof.slice(2)}`,
    `L402 ${honest}:${proof}00`,
    `L402 ${honest}:0x${proof}`,
    `L402 ${honest}:${'00'.repeat(32)}`,
    `L402 ${honest}:${proof}, L402 ${honest}:${proof}`,
    `L402 ${honest},${honest}:${proof}`,
    `L402 ${honest.slice(0, 40)}:${proof}`,
    `L402 ${honest.slice(4)}:${proof}`,
    `L402 ${'A'.repeat(9_000)}:${proof}`,
    `L402 !${honest}:${proof}`,
    `L402 ${rewrite(honest, (bytes) => Buffer.concat([bytes, Buffer.of(0)]))}:${proof}`,
    `L402 ${Buffer.from('token').toString('base64')}:${proof}`,
    `L402 ${Buffer.alloc(500, 2).toString('base64')}:${proof}`,
    `L402 ${Buffer.from([2, 2, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]).toString('base64')}:${proof}`,
  ],
  spell: (text) => `L402 ${text}`,
  damage: damagedCredential,
  hasReceipt: false,
});

/** One change behind the scheme: a character, a cut, or a byte of the macaroon. */
function damagedCredential(authorization: string): fc.Arbitrary<string> {
  const credential = authorization.slice('L402 '.length);
  const [token = ''] = credential.split(':');
  const at = fc.nat({ max: credential.length });
  const byteAt = fc.nat({ max: Buffer.from(token, 'base64').length - 1 });
  return fc.oneof(
    fc
      .tuple(at, fc.string({ minLength: 1, maxLength: 3 }))
      .map(([index, text]) => `L402 ${credential.slice(0, index)}${text}${credential.slice(index + 1)}`),
    fc.tuple(at, at).map(([from, to]) => `L402 ${credential.slice(from, to)}`),
    fc.tuple(byteAt, fc.nat({ max: 255 })).map(([index, byte]) => {
      const bytes = Buffer.from(token, 'base64');
      bytes[index] = byte;
      return `L402 ${bytes.toString('base64')}:${proof}`;
    }),
  );
}

test.each(vectors)('a macaroon is byte for byte that of the reference: $name', (vector) => {
  const [rootKey, identifier] = [Buffer.from(vector.rootKey, 'hex'), Buffer.from(vector.identifier, 'hex')];
  const caveats = vector.caveats.map((caveat) => Buffer.from(caveat, 'utf8'));
  const macaroon = mintMacaroon({ rootKey, identifier, location: vector.location, caveats });
  expect(encodeMacaroon(macaroon).toString('hex')).toBe(vector.binary);
  const decoded = decodeMacaroon(Buffer.from(vector.binary, 'hex'));
  expect(decoded).toEqual(macaroon);
  expect(decoded && isSignedBy(decoded, rootKey)).toBe(true);
});

test('any macaroon is the same to us and to the reference, which verifies ours', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 300 });
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(bytes, bytes, text, fc.array(text, { maxLength: 5 }), (rootKey, id, location, caveats) => {
      const theirs = stock.newMacaroon({ rootKey, identifier: id, location, version: 2 });
      for (const caveat of caveats) theirs.addFirstPartyCaveat(caveat);
      const ours = encodeMacaroon(
        mintMacaroon({
          ...{ rootKey, identifier: Buffer.from(id), location },
          caveats: caveats.map((caveat) => Buffer.from(caveat, 'utf8')),
        }),
      );
      expect(ours.equals(Buffer.from(theirs.exportBinary()))).toBe(true);
      stock.importMacaroon(ours).verify(rootKey, () => null);
    }),
    { numRuns: 25 },
  );
});

test('a challenge is read by the patterns of old and new clients, in whatever order they look', () => {
  const header = headerOf();
  const [token, invoice] = [parameter(header, 'token'), parameter(header, 'invoice')];
  expect(parameter(header, 'macaroon')).toBe(token);
  expect(invoice).toBe(offer.invoice);
  expect(parameter(header, 'version')).toBe('0');
  // Aperture's client interceptor before and after it knew `version` and `token`.
  const before = /(LSAT|L402) macaroon="(.*?)", invoice="(.*?)"/;
  const after = /(LSAT|L402) (?:version="[^"]*", )?(?:token|macaroon)="(.*?)", invoice="(.*?)"/;
  for (const pattern of [before, after]) {
    expect(pattern.exec(header)?.slice(1)).toEqual(['L402', token, invoice]);
  }
});

test('with a quote of usual length a challenge takes less than 2 KB', () => {
  expect(headerOf('q2.'.padEnd(240, 'x')).length).toBeLessThan(2_048);
});

test('a challenge needs an invoice: other offers are not for this wire', () => {
  const spt = { kind: 'spt', currency: 'usd', units: 50n, networkId: 'profile_1' } as const;
  const offers = [{ ...spt, paymentMethodTypes: ['card'] }];
  const input = { quote: quoteOf(), quoteToken: 'q2.t', offers, carried: carriedBy({}), refusal: undefined };
  expect(wire.challenge(input)).toBeUndefined();
});

test('a credential names the payment and hands the quote back, under either name of the scheme', () => {
  const token = tokenOf('q2.the-quote');
  const urlSafe = token.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  for (const header of [
    `L402 ${token}:${proof}`,
    `LSAT ${token}:${proof}`,
    `l402   ${token}:${proof.toUpperCase()}`,
    `L402 ${urlSafe}:${proof}`,
    `Bearer mcp_00, L402 ${token}:${proof}`,
    `L402 ${token}:${proof},Bearer mcp_00`,
    `Payment eyJ9, LSAT ${token}:${proof}, Digest realm="a, L402 b:c"`,
  ]) {
    expect(expectCredential(read(header)), header).toEqual({
      wire: 'l402',
      form: { kind: 'preimage', paymentHash, preimage: proof },
      quoteToken: 'q2.the-quote',
    });
  }
});

test('a token without a preimage asks what became of the payment, and proves nothing', () => {
  const credential = expectCredential(read(`L402 ${tokenOf('q2.asked')}:`));
  expect(credential.form).toEqual({ kind: 'preimage', paymentHash, preimage: '' });
  expect(credential.quoteToken).toBe('q2.asked');
});

test('two tokens for one invoice differ, and name the same payment', () => {
  const [one, other] = [tokenOf(), tokenOf()];
  expect(one).not.toBe(other);
  const forms = [one, other].map((token) => expectCredential(read(`L402 ${token}:${proof}`)).form);
  expect(forms[0]).toEqual(forms[1]);
});

test("a preimage that is not the invoice's is refused as such", () => {
  expect(read(`L402 ${honest}:${'ab'.repeat(32)}`)).toEqual({
    kind: 'malformed',
    reason: 'The preimage is not the one of the invoice.',
    code: 'verification-failed',
  });
});

test('a secret is replaced with an overlap: the old one still opens, a foreign one never', () => {
  const next = randomBytes(32);
  const [old, overlap, after] = [wireOf(secret), wireOf(next, secret), wireOf(next)];
  expect(read(`L402 ${tokenOf('q', old)}:${proof}`, overlap)?.kind).toBe('credential');
  expect(read(`L402 ${tokenOf('q', overlap)}:${proof}`, after)?.kind).toBe('credential');
  expect(read(`L402 ${tokenOf('q', old)}:${proof}`, after)).toMatchObject({
    kind: 'malformed',
    code: 'unknown-challenge',
  });
  expect(() => wireOf()).toThrow(RangeError);
});

test('a macaroon changed in any byte is not ours, except where nothing is signed', () => {
  const bytes = Buffer.from(honest, 'base64');
  const location = 3;
  for (let index = 0; index < bytes.length; index += 1) {
    if (index >= location && index < location + 'l402'.length) continue;
    const changed = Buffer.from(bytes);
    changed[index] = (changed[index] ?? 0) ^ 1;
    expect(read(`L402 ${changed.toString('base64')}:${proof}`)?.kind, `byte ${index}`).toBe('malformed');
  }
});

test("another payment's hash cannot be put into a token", () => {
  const other = randomBytes(32);
  const hash = createHash('sha256').update(other).digest();
  const forged = rewrite(honest, (bytes) => {
    const at = bytes.indexOf(Buffer.from(paymentHash, 'hex'));
    hash.copy(bytes, at);
    return bytes;
  });
  expect(read(`L402 ${forged}:${other.toString('hex')}`)).toMatchObject({ code: 'unknown-challenge' });
});

test('a holder may limit a token in time, and what the reference added is enforced to the second', () => {
  const limit = Math.floor(now.getTime() / 1_000) + 60;
  const limited = withCaveat(honest, `millicent_valid_until=${limit}`, `millicent_valid_until=${limit + 60}`);
  expect(expectCredential(read(`L402 ${limited}:${proof}`)).refusal).toBeUndefined();
  const started = now;
  now = new Date(limit * 1_000);
  // Read all the same: whether the payment was used before its time was over is not for the wire to know.
  expect(expectCredential(read(`L402 ${limited}:${proof}`))).toMatchObject({
    form: { paymentHash },
    refusal: { code: 'expired', detail: expect.any(String) },
  });
  expect(read(`L402 ${honest}:${proof}`)?.kind).toBe('credential');
  now = started;
});

test('a caveat that only repeats ours is allowed', () => {
  const same = withCaveat(honest, 'services=millicent:0', 'millicent_capabilities=call');
  expect(read(`L402 ${same}:${proof}`)?.kind).toBe('credential');
});

test.each([
  ['unknown', 'max_amount=1'],
  ['without a value', 'paid'],
  ['empty', '=x'],
  ['for another service', 'services=other:0'],
  ['with more services than before', 'services=millicent:0,other:0'],
  ['for another capability', 'millicent_capabilities=topup'],
  ['for another request', `request_digest=${'00'.repeat(32)}`],
  ['with another quote', 'quote=q2.mine'],
  ['with a time that is none', 'millicent_valid_until=tomorrow'],
  ['of another service in time', 'other_valid_until=9999999999'],
  ['with white space', ' services=millicent:0'],
])('a caveat %s refuses the token: who wrote it meant to restrict', (_, caveat) => {
  const reading = read(`L402 ${withCaveat(honest, caveat)}:${proof}`);
  expect(reading).toMatchObject({ kind: 'malformed', code: 'verification-failed' });
});

test('more caveats than anyone needs, and third-party ones, are not read', () => {
  const many = withCaveat(honest, ...Array<string>(20).fill('services=millicent:0'));
  expect(read(`L402 ${many}:${proof}`)).toMatchObject({ kind: 'malformed', code: 'malformed' });
  const bytes = Buffer.from(honest, 'base64');
  const thirdParty = Buffer.from([2, 1, 0x61, 4, 1, 0x62, 0]);
  const at = bytes.length - 35;
  const changed = Buffer.concat([bytes.subarray(0, at), thirdParty, bytes.subarray(at)]);
  expect(read(`L402 ${changed.toString('base64')}:${proof}`)).toMatchObject({ code: 'malformed' });
});

test('a token says to whoever holds it what it is for: service, capability, request, quote', () => {
  const caveats = decodeMacaroon(Buffer.from(tokenOf('q2.x'), 'base64'))?.caveats.map(String);
  expect(caveats?.[0]).toBe('services=millicent:0');
  expect(caveats?.[1]).toBe('millicent_capabilities=call');
  expect(caveats?.[2]).toMatch(/^request_digest=[0-9a-f]{64}$/);
  expect(caveats?.[3]).toBe('quote=q2.x');
  expect(caveats).toHaveLength(4);
});

/** The smallest server that sells one answer by our wire; knowing the preimage stands for having been paid. */
async function openShop(): Promise<{ url: string; close(): Promise<void> }> {
  const shop = new Hono().all('/paid', async (context) => {
    const reading = wire.read({ header: (name) => context.req.header(name) });
    if (reading === undefined) {
      context.header('WWW-Authenticate', headerOf('q2.shop'));
      context.header('WWW-Authenticate', 'Payment id="x", realm="shop", method="evm", request="e30"', {
        append: true,
      });
      return context.json({}, 402);
    }
    if (reading.kind === 'malformed') return context.json({ reason: reading.reason }, 400);
    const { form, quoteToken } = reading.credential;
    return context.json({ form, quoteToken, said: await context.req.text() });
  });
  const server = createServer(getRequestListener(shop.fetch));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/paid`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

test.each([
  ['fetch402', fetch402],
  ['fetchWithL402', fetchWithL402],
] as const)(
  'the unmodified %s of @getalby/lightning-tools pays our challenge and is read',
  async (_, pay) => {
    const shop = await openShop();
    const invoices: string[] = [];
    const wallet = {
      async payInvoice({ invoice }: { invoice: string }) {
        invoices.push(invoice);
        return { preimage: proof };
      },
    };
    const response = await pay(shop.url, { method: 'POST', body: 'hello' }, { wallet });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      form: { kind: 'preimage', paymentHash, preimage: proof },
      quoteToken: 'q2.shop',
      said: 'hello',
    });
    expect(invoices).toEqual([offer.invoice]);
    await shop.close();
  },
);
