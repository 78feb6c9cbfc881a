import { BodyDigest, Challenge as MppxChallenge, PaymentRequest, Receipt } from 'mppx';
import { Methods as evmMethods } from 'mppx/evm';
import { Methods as stripeMethods } from 'mppx/stripe';
import { Methods as tempoMethods } from 'mppx/tempo';
import { keccak256, stringToHex } from 'viem';
import { afterEach, describe, expect, test } from 'vitest';
import { expectForm } from '../../../src/payments/form.ts';
import type { Credential, CredentialReading, RefusalCode } from '../../../src/payments/wire.ts';
import { toBindingKey } from '../../../src/payments/wires/mpp/binding.ts';
import { quoteOf } from '../rails/conformance.ts';
import { carriedBy, damaged, describeWire } from './conformance.ts';
import {
  bolt11Offer,
  challengeOf,
  everyOffer,
  evmOffer,
  payByEvm,
  payer,
  paymentHash,
  preimage,
  REALM,
  readChallenge,
  request,
  secret,
  setNow,
  spell,
  sptOffer,
  tempoOffer,
  wireOf,
} from './mpp-fixtures.ts';

const wire = wireOf();
const secretKey = toBindingKey(secret).toString('utf8');
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const decode = (text: string): unknown => JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
const read = (credential: string, content?: string, by = wire) =>
  by.read(request({ 'payment-authorization': credential }, content));

afterEach(() => setNow(undefined));

function expectCredential(reading: CredentialReading | undefined): Credential {
  if (reading?.kind !== 'credential') throw new Error(JSON.stringify(reading));
  return reading.credential;
}

/** A credential of this kind in every way but one. */
function refusalOf(method: string, payload: unknown, source?: string): RefusalCode | undefined {
  const reading = read(spell(readChallenge(challengeOf(wire), method), payload, source));
  if (reading?.kind !== 'malformed') throw new Error(JSON.stringify(reading));
  expect(reading.reason).toMatch(/^[A-Z].{5,198}\.$/);
  return reading.code;
}

const honest = await payByEvm(challengeOf(wire, { offers: [evmOffer] }));
const [, honestToken = ''] = honest.split(' ');

describeWire('mpp', {
  wire,
  offers: everyOffer,
  credentialHeader: 'payment-authorization',
  answer: async (challenge) => ({
    headers: { 'payment-authorization': await payByEvm(challenge) },
    quoteToken: 'echoed',
  }),
  foreign: [
    {},
    { authorization: '' },
    { authorization: 'Bearer mcp_0123456789abcdef0123456789abcdef0123456789abcdef' },
    { authorization: 'L402 token:preimage' },
    { authorization: 'LSAT token:preimage' },
    { authorization: 'Payments token' },
    { authorization: 'Bearer a, L402 b' },
    { authorization: `Digest username="a, Payment ${honestToken}"` },
    { authorization: `Digest username="a\\", Payment ${honestToken}"` },
    { 'payment-signature': encode({ x402Version: 2 }) },
    { 'x-payment': encode({ x402Version: 1 }) },
  ],
  broken: [
    '',
    'Payment',
    'Payment ',
    'Bearer token',
    'Payment !',
    'Payment ====',
    `Payment ${encode(null)}`,
    `Payment ${encode([])}`,
    `Payment ${encode({})}`,
    `Payment ${encode({ challenge: {}, payload: {} })}`,
    `Payment ${'A'.repeat(17_000)}`,
    `Payment ${Buffer.from('['.repeat(12_000)).toString('base64url')}`,
    `Payment ${honestToken} ${honestToken}`,
    honestToken,
  ],
  spell: (text) => `Payment ${text}`,
  damage: (credential) => damaged(credential.slice('Payment '.length)).map((text) => `Payment ${text}`),
});

describe('challenges are those of the stock implementation', () => {
  test('every challenge is bound, spelled and parsed as mppx does it', () => {
    const challenge = challengeOf(wire, { carried: request({}, '{"text":"hello"}') });
    const parsed = MppxChallenge.fromHeadersList(new Headers(challenge.headers));
    expect(parsed.map(({ method }) => method)).toEqual(['evm', 'tempo', 'stripe', 'lightning']);
    for (const [index, one] of parsed.entries()) {
      expect(MppxChallenge.verify(one, { secretKey })).toBe(true);
      expect(MppxChallenge.serialize(one)).toBe(challenge.headers[index]?.[1]);
      expect(one).toMatchObject({ realm: REALM, intent: 'charge', header: 'Payment-Authorization' });
      expect(one.digest).toBe(BodyDigest.compute('{"text":"hello"}'));
    }
  });

  test('requests are what the methods of mppx make of the same terms', () => {
    const challenge = challengeOf(wire);
    const { decimals: _, ...details } = { decimals: 6, chainId: 84_532, credentialTypes: ['authorization'] };
    const evm = PaymentRequest.fromMethod(evmMethods.charge, {
      ...{ amount: '0.0025', decimals: 6, chainId: 84_532 },
      ...{ currency: evmOffer.asset, recipient: evmOffer.payTo },
    });
    expect(readChallenge(challenge, 'evm').request).toEqual({ ...evm, methodDetails: details });
    expect(readChallenge(challenge, 'tempo').request).toEqual(
      PaymentRequest.fromMethod(tempoMethods.charge, {
        ...{ amount: '0.0025', decimals: 6, chainId: 42_431 },
        ...{ currency: tempoOffer.currency, recipient: tempoOffer.recipient },
      }),
    );
    expect(readChallenge(challenge, 'stripe').request).toEqual(
      PaymentRequest.fromMethod(stripeMethods.charge, {
        ...{ amount: '0.50', decimals: 2, currency: 'usd', networkId: sptOffer.networkId },
        paymentMethodTypes: [...sptOffer.paymentMethodTypes],
      }),
    );
    expect(readChallenge(challenge, 'lightning').request).toEqual({
      ...{ amount: '4', currency: 'sat', externalId: 'q2.token;;call /invoke/text-stats' },
      methodDetails: { invoice: bolt11Offer.invoice, network: 'regtest', paymentHash },
    });
  });

  test('a challenge expires with its quote, and is bound to method and path', () => {
    const quote = quoteOf();
    const one = readChallenge(challengeOf(wire, { quote, carried: request({}) }), 'evm');
    expect(one.expires).toBe(quote.expiresAt.toISOString());
    expect(decode(one.opaque ?? '')).toEqual({ _mppx_scope: 'POST /invoke/text-stats', quote: 'q2.token' });
    const other = readChallenge(challengeOf(wire, { quote, carried: request({}) }), 'lightning');
    expect(decode(other.opaque ?? '')).toEqual({ _mppx_scope: 'POST /invoke/text-stats' });
  });

  test('the challenges of four methods take less than 6 KB, and those of ten more networks are dropped', () => {
    const sizeOf = (offers = everyOffer) => {
      const quote = quoteOf();
      quote.resource.url = `https://gateway.example/invoke/${'n'.repeat(120)}`;
      const carried = request({}, '{}');
      const { headers } = challengeOf(wire, { quote, quoteToken: 'q'.repeat(400), offers, carried });
      const chars = headers.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
      return { chars, methods: headers.map(([, value]) => /method="([a-z]+)"/.exec(value)?.[1]) };
    };
    const { chars, methods } = sizeOf();
    expect(chars).toBeLessThan(6 * 1024);
    expect(methods).toEqual(['evm', 'tempo', 'stripe', 'lightning']);
    const networks = Array.from({ length: 10 }, (_, index) => ({
      ...evmOffer,
      network: `eip155:${index + 1}`,
    }));
    const many = sizeOf([...networks, ...everyOffer]);
    expect(many.chars).toBeLessThan(6.2 * 1024);
    expect(many.methods.filter((method, index) => many.methods.indexOf(method) === index)).toEqual(methods);
  });

  test('a realm that would need quoting, and a wire without a secret, are refused at the start', () => {
    expect(() => wireOf([secret], 'a"b')).toThrow();
    expect(() => wireOf([secret], 'a|b')).toThrow();
    expect(() => wireOf([])).toThrow(RangeError);
  });
});

describe('Accept-Payment', () => {
  const methodsFor = (header: string | undefined) => {
    const carried = carriedBy(header === undefined ? {} : { 'accept-payment': header });
    const { headers } = challengeOf(wire, { carried });
    const shown = headers.map(([, value]) => /method="([a-z]+)"/.exec(value)?.[1]).join(' ');
    return { shown, asked: [...(wire.wants?.(carried) ?? ['any'])].join(' ') };
  };
  const ALL = 'evm tempo stripe lightning';

  test.each([
    [undefined, ALL, 'any'],
    ['*/*', ALL, ALL],
    ['tempo/charge', 'tempo', 'tempo'],
    ['lightning/*', 'lightning', 'lightning'],
    ['*/charge;q=0.5, stripe/charge', 'stripe evm tempo lightning', ALL],
    ['evm/charge;q=0.1, tempo/charge;q=0.9', 'tempo evm', 'evm tempo'],
    ['evm/charge;q=0, */*;q=0.2', 'tempo stripe lightning', 'tempo stripe lightning'],
    ['evm/*;q=0.9, evm/charge;q=0', ALL, 'any'],
    ['tempo/charge ; q=0.5 ,lightning/charge', 'lightning tempo', 'tempo lightning'],
    // What names nothing of ours counts for nothing.
    ['tempo/session', ALL, 'any'],
    ['solana/charge', ALL, 'any'],
    ['*/*;q=0', ALL, 'any'],
    ['', ALL, 'any'],
    ['evm', ALL, 'any'],
    ['evm/charge;q=2', ALL, 'any'],
    ['evm/charge, tempo', ALL, 'any'],
  ])('%s', (header, shown, asked) => {
    expect(methodsFor(header)).toEqual({ shown, asked });
  });

  test('a list beyond all bounds counts for nothing', () => {
    for (const entries of [65, 2_000]) {
      const header = `tempo/charge${',a/b'.repeat(entries - 1)}`;
      expect(methodsFor(header)).toEqual({ shown: ALL, asked: 'any' });
    }
  });
});

describe('credentials', () => {
  test('the header that challenges name comes first, and the usual one serves as well', async () => {
    const other = spell(readChallenge(challengeOf(wire), 'lightning'), { preimage });
    const kindOf = (headers: Record<string, string>) =>
      expectCredential(wire.read(carriedBy(headers))).form.kind;
    expect(kindOf({ 'payment-authorization': honest })).toBe('eip3009');
    expect(kindOf({ authorization: honest })).toBe('eip3009');
    expect(kindOf({ authorization: honest, 'payment-authorization': other })).toBe('preimage');
    expect(kindOf({ authorization: `Bearer mcp_key, ${honest}` })).toBe('eip3009');
    expect(kindOf({ authorization: `${honest}, Bearer mcp_key` })).toBe('eip3009');
    expect(kindOf({ authorization: `pAYMENT \t ${honestToken} ` })).toBe('eip3009');
    expect(kindOf({ authorization: `Bearer mcp_key,\r\n Payment\r\n ${honestToken}` })).toBe('eip3009');
    expect(kindOf({ authorization: `Digest username="a, b", ${honest}` })).toBe('eip3009');
    expect(kindOf({ authorization: `${honest}, ${other}` })).toBe('eip3009');
  });

  test('an authorization is read with the token and network of its challenge', () => {
    const form = expectForm(expectCredential(read(honest)).form, 'eip3009');
    expect(form).toMatchObject({
      ...{ network: 'eip155:84532', value: 2_500n, from: payer.address.toLowerCase() },
      ...{ asset: evmOffer.asset.toLowerCase(), to: evmOffer.payTo.toLowerCase() },
    });
  });

  test('a Tempo credential names its challenge, its realm and its payer', () => {
    const challenge = readChallenge(challengeOf(wire), 'tempo');
    const [signature, hash] = [`0x76${'ab'.repeat(200)}`, `0x${'cd'.repeat(32)}`];
    const source = `did:pkh:eip155:42431:${payer.address}`;
    const terms = { challengeId: challenge.id, realm: REALM, network: 'eip155:42431' };
    expect(expectCredential(read(spell(challenge, { type: 'transaction', signature }))).form).toEqual({
      ...{ kind: 'tempo', shows: 'transaction', value: signature },
      ...terms,
    });
    expect(expectCredential(read(spell(challenge, { type: 'hash', hash }, source))).form).toEqual({
      ...{ kind: 'tempo', shows: 'hash', value: hash, payer: payer.address.toLowerCase() },
      ...terms,
    });
  });

  test('a Stripe credential brings its token and the reference of its payer', () => {
    const challenge = readChallenge(challengeOf(wire), 'stripe');
    const reading = read(spell(challenge, { spt: 'spt_123', externalId: 'order-7' }));
    expect(expectCredential(reading).form).toEqual({ kind: 'spt', token: 'spt_123', externalId: 'order-7' });
    expect(expectCredential(read(spell(challenge, { spt: 'spt_123' }))).form).toMatchObject({
      externalId: '',
    });
  });

  test('a Lightning credential that echoes only what its specification knows is bound to quote and body', () => {
    const content = '{"text":"hello"}';
    const {
      id,
      realm,
      method,
      intent,
      expires,
      request: terms,
    } = readChallenge(challengeOf(wire, { carried: request({}, content) }), 'lightning');
    const terse = { challenge: { id, realm, method, intent, expires }, payload: { preimage } };
    const credential = `Payment ${encode({ ...terse, challenge: { ...terse.challenge, request: PaymentRequest.serialize(terms) } })}`;
    const shown = expectCredential(read(credential, content));
    expect(shown).toEqual({
      wire: 'mpp',
      form: { kind: 'preimage', paymentHash, preimage },
      quoteToken: 'q2.token',
    });
    expect(expectCredential(read(credential, '{}')).refusal?.code).toBe('verification-failed');
    expect(expectCredential(read(credential)).refusal?.code).toBe('verification-failed');
  });

  test('a payload that does not answer its challenge is refused', async () => {
    const challenge = readChallenge(challengeOf(wire), 'evm');
    const payload = {
      ...{ type: 'authorization', from: payer.address, to: evmOffer.payTo, value: '2500' },
      ...{ validAfter: '0', validBefore: '1900000000', signature: `0x${'ab'.repeat(65)}` },
      nonce: keccak256(stringToHex(challenge.id + challenge.realm)),
    };
    const codeOf = (changes: object, source?: string) => {
      const reading = read(spell(challenge, { ...payload, ...changes }, source));
      return reading?.kind === 'malformed' ? reading.code : 'read';
    };
    expect(codeOf({})).toBe('read');
    expect(codeOf({}, `did:pkh:eip155:84532:${payer.address}`)).toBe('read');
    expect(codeOf({ nonce: `0x${'00'.repeat(32)}` })).toBe('verification-failed');
    expect(codeOf({ to: payer.address })).toBe('verification-failed');
    expect(codeOf({ value: '2499' })).toBe('verification-failed');
    expect(codeOf({}, `did:pkh:eip155:84532:${evmOffer.payTo}`)).toBe('verification-failed');
    expect(codeOf({}, `did:pkh:eip155:1:${payer.address}`)).toBe('verification-failed');
    expect(codeOf({ type: 'permit2' })).toBe('malformed');
    expect(codeOf({ from: 'vitalik.eth' })).toBe('malformed');
    expect(codeOf({ signature: 'ab' })).toBe('malformed');
    expect(codeOf({ validBefore: '-1' })).toBe('malformed');
    expect(refusalOf('tempo', { type: 'proof', signature: '0xab' })).toBe('malformed');
    expect(refusalOf('tempo', { type: 'hash', hash: '0xab' })).toBe('malformed');
    expect(refusalOf('tempo', { type: 'hash', hash: `0x${'cd'.repeat(32)}` }, 'did:key:z')).toBe(
      'verification-failed',
    );
    expect(refusalOf('stripe', { spt: 'tok_1' })).toBe('malformed');
    expect(refusalOf('stripe', {})).toBe('malformed');
    expect(refusalOf('lightning', { preimage: 'ab' })).toBe('malformed');
    expect(refusalOf('lightning', { preimage: '00'.repeat(32) })).toBe('verification-failed');
  });

  test('a challenge with anything changed, of another realm or under another secret, is not ours', () => {
    const challenge = readChallenge(challengeOf(wire, { carried: request({}, '{}') }), 'lightning');
    const evm = readChallenge(challengeOf(wire, { carried: request({}, '{}') }), 'evm');
    const changes: [MppxChallenge.Challenge, object][] = [
      [challenge, { request: { ...challenge.request, amount: '1' } }],
      [challenge, { request: { ...challenge.request, externalId: 'q2.another;;call /invoke/text-stats' } }],
      [challenge, { expires: new Date(Date.now() + 3_600_000).toISOString() }],
      [challenge, { realm: 'elsewhere.example' }],
      [challenge, { method: 'stripe' }],
      [challenge, { intent: 'session' }],
      [challenge, { id: 'A'.repeat(43) }],
      [challenge, { opaque: encode({ quote: 'q2.another' }) }],
      [evm, { digest: BodyDigest.compute('{"other":1}') }],
      [evm, { digest: undefined }],
      [evm, { opaque: encode({ quote: 'q2.another' }) }],
      [challenge, { digest: BodyDigest.compute('{"other":1}') }],
      [challenge, { header: 'X-Payment' }],
      [evm, { header: 'Authorization' }],
      [evm, { expires: undefined }],
    ];
    for (const [original, change] of changes) {
      const forged = { ...original, ...change, meta: undefined };
      expect(read(spell(forged, { preimage }), '{}')).toMatchObject({ code: 'unknown-challenge' });
    }
    const elsewhere = challengeOf(wireOf([secret], 'elsewhere.example'));
    expect(read(spell(readChallenge(elsewhere, 'lightning'), { preimage }))).toMatchObject({
      code: 'unknown-challenge',
    });
    const foreign = challengeOf(wireOf([Buffer.alloc(32, 7)]));
    expect(read(spell(readChallenge(foreign, 'lightning'), { preimage }))).toMatchObject({
      code: 'unknown-challenge',
    });
  });

  test('a challenge whose members are cut elsewhere is none, although the id covers the same text', () => {
    for (const method of ['evm', 'tempo', 'stripe']) {
      const challenge = readChallenge(challengeOf(wire, { carried: request({}, '{}') }), method);
      const { expires = '', digest = '', header = '', opaque = '' } = challenge;
      const cuts = [
        { header: undefined, opaque: `${header}|${opaque}` },
        { header: undefined, digest: `${digest}|${header}` },
        { header: undefined, digest: undefined, opaque: `${digest}|${header}|${opaque}` },
        { expires: `${expires}|${digest}`, digest: header, header: undefined },
      ];
      const payloads = {
        evm: {},
        tempo: { type: 'hash', hash: `0x${'ab'.repeat(32)}` },
        stripe: { spt: 'spt_1' },
      };
      for (const cut of cuts) {
        const forged = { ...challenge, ...cut, meta: undefined };
        const reading = read(spell(forged, payloads[method as keyof typeof payloads]), '{}');
        expect(reading?.kind === 'credential' ? reading.credential.refusal : reading).toBeDefined();
      }
    }
  });

  test('a secret is replaced with an overlap: the new one signs, the old one still verifies', () => {
    const renewed = Buffer.alloc(32, 9);
    const both = wireOf([renewed, secret]);
    const old = spell(readChallenge(challengeOf(wire), 'lightning'), { preimage });
    const fresh = spell(readChallenge(challengeOf(both), 'lightning'), { preimage });
    expect(read(old, undefined, both)?.kind).toBe('credential');
    expect(read(fresh, undefined, wireOf([renewed]))?.kind).toBe('credential');
    expect(read(old, undefined, wireOf([renewed]))).toMatchObject({ code: 'unknown-challenge' });
  });

  test('a client that echoes an older spelling is understood', () => {
    const challenge = readChallenge(challengeOf(wire), 'stripe');
    const { meta: _, request: terms, opaque = '', ...rest } = challenge;
    const echo = {
      ...rest,
      opaque: decode(opaque),
      request: encode(Object.fromEntries(Object.entries(terms).reverse())),
    };
    const token = Buffer.from(JSON.stringify({ challenge: echo, payload: { spt: 'spt_1' } })).toString(
      'base64',
    );
    expect(expectCredential(read(`Payment ${token}`)).quoteToken).toBe('q2.token');
  });
});

describe('what cannot pay any more is still read, so that what it paid for is found', () => {
  test('an expired challenge', () => {
    const quote = quoteOf();
    const credential = spell(readChallenge(challengeOf(wire, { quote }), 'lightning'), { preimage });
    expect(expectCredential(read(credential)).refusal).toBeUndefined();
    setNow(quote.expiresAt);
    const { refusal, quoteToken } = expectCredential(read(credential));
    expect(refusal).toMatchObject({ code: 'expired', wire: 'mpp' });
    expect(quoteToken).toBe('q2.token');
  });

  test.each([
    ['another body', '{"a":1}', '{"a":2}', 'verification-failed'],
    ['no body', '{"a":1}', undefined, 'verification-failed'],
    ['a body where there was none', undefined, '{"a":1}', 'verification-failed'],
    ['the same body', '{"a":1}', '{"a":1}', undefined],
    ['no body again', undefined, undefined, undefined],
  ])('the challenge of a request that now has %s', async (_, before, after, code) => {
    const challenge = challengeOf(wire, { carried: request({}, before) });
    for (const method of ['stripe', 'lightning']) {
      const payload = method === 'stripe' ? { spt: 'spt_1' } : { preimage };
      const credential = spell(readChallenge(challenge, method), payload);
      expect(expectCredential(read(credential, after)).refusal?.code).toBe(code);
    }
  });
});

describe('the type of a refusal', () => {
  const typeOf = (code: RefusalCode | undefined, headers: Record<string, string>, by?: 'x402' | 'mpp') =>
    challengeOf(wire, { carried: carriedBy(headers), refusal: { detail: 'No.', code, wire: by } })
      .problemType;
  const lightning = spell(readChallenge(challengeOf(wire), 'lightning'), { preimage });
  const own = (credential: string) => ({ authorization: credential });

  const credentials = { evm: honest, nothing: 'Payment garbage', lightning };
  test.each([
    ['malformed', 'evm', 'malformed-credential'],
    ['malformed', 'nothing', 'malformed-credential'],
    ['unknown-challenge', 'evm', 'invalid-challenge'],
    ['expired', 'evm', 'payment-expired'],
    ['verification-failed', 'evm', 'verification-failed'],
    [undefined, 'evm', 'verification-failed'],
    ['malformed', 'lightning', 'lightning/malformed-credential'],
    ['unknown-challenge', 'lightning', 'lightning/unknown-challenge'],
    ['expired', 'lightning', 'lightning/expired-invoice'],
    ['verification-failed', 'lightning', 'lightning/invalid-preimage'],
  ] as const)('%s of a credential for %s is %s', (code, method, type) => {
    const credential = credentials[method];
    expect(typeOf(code, own(credential))).toBe(`https://paymentauth.org/problems/${type}`);
    expect(typeOf(code, own(credential), 'mpp')).toBe(`https://paymentauth.org/problems/${type}`);
  });

  test("another wire's refusal, and a 402 that refuses nothing, keep our own type", () => {
    expect(typeOf('malformed', own(honest), 'x402')).toBeUndefined();
    expect(typeOf('malformed', {})).toBeUndefined();
    expect(challengeOf(wire, { carried: carriedBy(own(honest)) })).not.toHaveProperty('problemType');
  });
});

test('a receipt is one of the stock implementation, and names the challenge that was answered', () => {
  const settledAt = new Date();
  const { form } = expectCredential(read(honest));
  const receiptOf = (changes: object) => {
    const [header] = wire.receipt({
      ...{ form, payer: 'eip155:84532:0x00', rail: 'evm', reference: `0x${'ab'.repeat(32)}#3`, settledAt },
      ...changes,
    });
    expect(header?.[0]).toBe('Payment-Receipt');
    return Receipt.deserialize(header?.[1] ?? '');
  };
  const plain = {
    method: 'evm',
    reference: `0x${'ab'.repeat(32)}`,
    status: 'success',
    timestamp: settledAt.toISOString(),
  };
  expect(receiptOf({})).toEqual(plain);
  const { challenge } = decode(honestToken) as { challenge: { id: string } };
  const carried = carriedBy({ 'payment-authorization': honest });
  expect(receiptOf({ carried })).toEqual({ ...plain, challengeId: challenge.id });
  expect(receiptOf({ carried: carriedBy({}) })).toEqual(plain);
  const spt = { kind: 'spt', token: 'spt_1', externalId: 'order-7' };
  expect(receiptOf({ form: spt, rail: 'stripe', reference: 'pi_1' })).toMatchObject({
    ...{ method: 'stripe', reference: 'pi_1', externalId: 'order-7' },
  });
  const tempo = { kind: 'tempo', shows: 'hash', value: '0x', network: 'eip155:42431', challengeId: 'c1' };
  expect(receiptOf({ form: tempo, rail: 'tempo' })).toMatchObject({ method: 'tempo', challengeId: 'c1' });
});
