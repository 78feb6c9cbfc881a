import { Challenge, Credential } from 'mppx';
import { McpClient } from 'mppx/mcp/client';
import { describe, expect, test } from 'vitest';
import { Problem } from '../../../src/core/problem.ts';
import { readAuthParams } from '../../../src/http/mcp/dialects/authorization.ts';
import {
  carryMeta,
  dropPaymentKeys,
  isHttpPayer,
  type JsonObject,
  receiptMeta,
  spellPaymentRequired,
  spellProblem,
  stripMeta,
  takesAsPass,
} from '../../../src/http/mcp/dialects/index.ts';
import {
  challengeOf,
  payByEvm,
  readChallenge,
  responseOf,
  wireOf,
} from '../../payments/wires/mpp-fixtures.ts';
import { carried, context, metaOf, paymentRequired } from './dialects-fixtures.ts';

const toBase64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');
const v2 = {
  x402Version: 2,
  accepted: { scheme: 'exact' },
  payload: { signature: '0x01', authorization: {} },
};
const v1 = {
  x402Version: 1,
  scheme: 'exact',
  network: 'base',
  payload: { signature: '0x02', authorization: {} },
};

describe('a credential in _meta appears as the header its wire reads', () => {
  test.each([
    ['x402 v2, an object', { 'x402/payment': v2 }, 'payment-signature', toBase64(v2)],
    ['x402 v2, base64', { 'x402/payment': toBase64(v2) }, 'PAYMENT-SIGNATURE', toBase64(v2)],
    ['x402 v1, an object', { 'x402/payment': v1 }, 'x-payment', toBase64(v1)],
    ['x402 v1, base64, with a dot', { 'x402.payment': toBase64(v1) }, 'X-PAYMENT', toBase64(v1)],
    ['x402 v2, with a dot', { 'x402.payment': v2 }, 'payment-signature', toBase64(v2)],
  ])('%s', (_, meta, header, value) => {
    expect(carryMeta(carried(), meta as JsonObject).header(header)).toBe(value);
  });

  test('MPP: the wire reads what the stock client put there', async () => {
    const wire = wireOf();
    const credential = Credential.deserialize(await payByEvm(challengeOf(wire)));
    const meta = JSON.parse(JSON.stringify({ 'org.paymentauth/credential': credential }));
    const reading = wire.read(carryMeta(carried(), meta));
    expect(reading).toMatchObject({
      kind: 'credential',
      credential: { wire: 'mpp', form: { kind: 'eip3009' } },
    });
  });

  test('headers of the request itself count too, and a key stays where it was', () => {
    const both = carryMeta(carried({ authorization: 'Bearer mcp_1', 'PAYMENT-SIGNATURE': toBase64(v2) }), {});
    expect(both.header('authorization')).toBe('Bearer mcp_1');
    expect(both.header('payment-signature')).toBe(toBase64(v2));
  });

  test('a challenge is never bound to the content of a request, whose retry is another', () => {
    expect(carryMeta(carried(), undefined).bodyDigest?.()).toBeUndefined();
  });
});

describe('two different payments in one request are refused, and one payment in two places is one', () => {
  const mpp = { challenge: { id: 'c', request: {} }, payload: { preimage: '00' } };
  const mppHeader = `Payment ${Buffer.from(JSON.stringify(mpp)).toString('base64url')}`;
  const other = { ...v2, payload: { signature: '0x03', authorization: {} } };

  test.each<[string, JsonObject, Record<string, string>]>([
    ['two dialects of x402', { 'x402/payment': v2, 'x402.payment': toBase64(v1) }, {}],
    ['x402 and MPP', { 'x402/payment': v2, 'org.paymentauth/credential': mpp }, {}],
    ['_meta and header of x402', { 'x402/payment': v2 }, { 'payment-signature': toBase64(other) }],
    ['_meta of MPP and L402', { 'org.paymentauth/credential': mpp }, { authorization: 'L402 token:00' }],
    ['MPP and L402 in one header', {}, { authorization: `${mppHeader}, L402 token:00` }],
    ['two headers', {}, { 'payment-signature': toBase64(v2), 'payment-authorization': mppHeader }],
  ])('%s: refused', (_, meta, headers) => {
    expect(() => carryMeta(carried(headers), meta)).toThrow(
      expect.objectContaining({
        type: 'malformed-request',
        status: 400,
        message: expect.stringContaining('Two'),
      }),
    );
  });

  test.each<[string, JsonObject, Record<string, string>]>([
    ['header and object (mcpc)', { 'x402/payment': v2 }, { 'payment-signature': toBase64(v2) }],
    ['object and base64', { 'x402/payment': v2, 'x402.payment': toBase64(v2) }, {}],
    ['MPP in both', { 'org.paymentauth/credential': mpp }, { 'payment-authorization': mppHeader }],
  ])('%s: one payment', (_, meta, headers) => {
    expect(carryMeta(carried(headers), meta)).toBeDefined();
  });

  test.each<[string, JsonObject]>([
    ['a number', { 'x402/payment': 7 }],
    ['a list', { 'x402.payment': [] }],
    ['no challenge', { 'org.paymentauth/credential': { payload: {} } }],
    ['a text', { 'org.paymentauth/credential': 'Payment abc' }],
  ])('what is no payment is told so: %s', (_, meta) => {
    expect(() => carryMeta(carried(), meta)).toThrow(expect.objectContaining({ type: 'malformed-request' }));
  });
});

describe('one 402 speaks every dialect at once', () => {
  const result = (change = {}) => {
    const spelling = spellPaymentRequired(paymentRequired(), context(change));
    if (spelling.kind !== 'result') throw new Error(spelling.kind);
    return spelling.result;
  };

  test('x402: structured content and the first text are the challenge of the header, quote and all', () => {
    const { structuredContent, content, isError } = result();
    expect(isError).toBe(true);
    expect(structuredContent).toMatchObject({
      x402Version: 2,
      accepts: [{ scheme: 'exact', network: 'eip155:84532', amount: '2500' }],
      extensions: { 'millicent-quote': { info: { quote: 'q3.token' } } },
    });
    expect(JSON.parse((content as { text: string }[])[0]?.text ?? '')).toEqual(structuredContent);
  });

  test('Cloudflare finds it in _meta, vercel a text of version 1, a model a sentence', () => {
    const { content, structuredContent, ...rest } = result();
    expect(metaOf(rest)['x402/error']).toEqual(structuredContent);
    const texts = (content as { text: string }[]).map(({ text }) => text);
    expect(JSON.parse(texts[1] ?? '')).toMatchObject({
      x402Version: 1,
      accepts: [{ network: 'base-sepolia', maxAmountRequired: '2500' }],
    });
    expect(texts[2]).toContain('costs $0.0025. No charge applied.');
  });

  test('mppx reads the same challenges from _meta as from the headers', () => {
    const data = metaOf(result())['org.paymentauth/payment-required'] as { challenges: unknown[] };
    expect(McpClient.isPaymentRequiredError({ code: -32042, message: '', data })).toBe(true);
    expect(data).toMatchObject({ httpStatus: 402, problem: { status: 402, amount_mcents: 250 } });
    const challenge = challengeOf(wireOf());
    for (const method of ['evm', 'tempo', 'stripe', 'lightning']) {
      const { id: _, expires: _e, ...terms } = readChallenge(challenge, method);
      expect(data.challenges).toContainEqual(expect.objectContaining(terms));
    }
    expect(data.challenges).toHaveLength(Challenge.fromResponseList(responseOf(challenge)).length);
  });

  test('no structured content for a tool with an output schema in the 2025 era, which clients would refuse', () => {
    const spelled = result({ hasOutputSchema: true });
    expect(spelled).not.toHaveProperty('structuredContent');
    expect(JSON.parse((spelled.content as { text: string }[])[0]?.text ?? '').x402Version).toBe(2);
    expect(result({ hasOutputSchema: true, era: '2026' })).toMatchObject({
      structuredContent: { x402Version: 2 },
      resultType: 'complete',
    });
  });

  test('a 402 without any challenge still says what to do', () => {
    const problem = new Problem('payment-required', { detail: 'Buy a key.', members: { signup_url: 'u' } });
    const spelling = spellPaymentRequired(problem, context());
    expect(spelling).toMatchObject({
      result: { isError: true, content: [{ text: expect.stringContaining('Buy a key.') }] },
    });
    expect(spelling).not.toHaveProperty(['result', 'structuredContent']);
    expect(spelling).toMatchObject({ result: { _meta: { 'millicent/problem': { signup_url: 'u' } } } });
  });
});

describe('a request that speaks of payments in HTTP is answered in HTTP', () => {
  test.each([
    [{ 'payment-signature': 'x' }, true],
    [{ 'x-payment': 'x' }, true],
    [{ 'payment-authorization': 'Payment x' }, true],
    [{ authorization: 'Payment x' }, true],
    [{ authorization: 'L402 a:b' }, true],
    [{ 'accept-payment': 'evm/charge' }, true],
    [{ authorization: 'Bearer mcp_x' }, false],
    [{}, false],
  ])('%j: %s', (headers, isPayer) => {
    expect(isHttpPayer(carried(headers as Record<string, string>))).toBe(isPayer);
  });

  test('also on the newest revision', () => {
    expect(spellPaymentRequired(paymentRequired(), context({ isHttpPayer: true, era: '2026' }))).toEqual({
      kind: 'http',
    });
  });
});

test('nothing of a payment, and nothing of ours, reaches a tool', () => {
  const meta = {
    ...{ 'x402/payment': v2, 'x402.payment': 'x', X402: 1, 'org.paymentauth/credential': {} },
    ...{ 'millicent/pay': 'machine', 'agents-x402/priceUSD': 1, ' x402/payment': 1 },
  };
  expect(stripMeta(meta)).toBeUndefined();
  expect(stripMeta({ ...meta, traceparent: '00-1', 'com.acme/x': { a: 1 } })).toEqual({
    ...{ traceparent: '00-1', 'com.acme/x': { a: 1 } },
  });
  expect(stripMeta({ big: 'x'.repeat(20_000) })).toBeUndefined();
  expect(dropPaymentKeys({ 'x402/error': {}, 'org.paymentauth/payment-required': {}, kept: 1 })).toEqual({
    kept: 1,
  });
});

test('a receipt is told in every dialect, and in ours', () => {
  const response = { success: true, transaction: '0x1' };
  const receipt = { method: 'evm', reference: '0x1', challengeId: 'c' };
  const meta = receiptMeta(
    [
      ['PAYMENT-RESPONSE', toBase64(response)],
      ['Payment-Receipt', Buffer.from(JSON.stringify(receipt)).toString('base64url')],
    ],
    { charged: 250n, receiptId: 'r', receipt: 'a.b.c', balance: 7n },
  );
  expect(meta).toEqual({
    ...{ 'x402/payment-response': response, 'x402.payment-response': response },
    ...{ 'org.paymentauth/receipt': receipt, 'millicent/receipt': 'a.b.c', 'millicent/receipt-id': 'r' },
    ...{ 'millicent/charged-mcents': 250, 'millicent/balance-mcents': 7 },
  });
});

test.each([
  'in-flight',
  'outcome-unknown',
  'tool-failed',
  'tool-timeout',
  'invalid-arguments',
  'too-many-requests',
] as const)('%s is a result that says so, without any challenge', (type) => {
  const problem = new Problem(type, { detail: 'So it is.', retryAfterSeconds: 5 });
  const result = spellProblem(problem, { era: '2026', requestId: 'r' });
  expect(result).toMatchObject({ isError: true, resultType: 'complete' });
  expect(metaOf(result)).toEqual({
    'millicent/problem': expect.objectContaining({
      ...{ status: problem.status, detail: 'So it is.', retry_after_seconds: 5, instance: 'urn:request:r' },
    }),
  });
  expect(JSON.stringify(result)).not.toMatch(/accepts|challenges|x402Version/);
});

describe('a client that shows its last payment with every call', () => {
  const used = new Problem('credential-used', { detail: 'Used.', members: { receipt_id: 'r' } });
  const shown = { carried: carried({ 'payment-signature': toBase64(v2) }), meta: { 'x402/payment': v2 } };

  test('is known by sending it twice and without a quote', () => {
    expect(takesAsPass(used, shown)).toBe(true);
    expect(takesAsPass(used, { ...shown, meta: {} })).toBe(false);
    expect(takesAsPass(used, { ...shown, carried: carried() })).toBe(false);
    const echoed = { ...v2, extensions: { 'millicent-quote': {} } };
    expect(takesAsPass(used, { ...shown, carried: carried({ 'payment-signature': toBase64(echoed) }) })).toBe(
      false,
    );
  });

  test('is not asked for more while its money is under way, or bought nothing', () => {
    expect(takesAsPass(new Problem('in-flight', { detail: '' }), shown)).toBe(false);
    expect(takesAsPass(new Problem('outcome-unknown', { detail: '' }), shown)).toBe(false);
    const credited = new Problem('credential-used', { detail: '', members: { refund_key: 'mcp_' } });
    expect(takesAsPass(credited, shown)).toBe(false);
  });
});

test('parameters of a challenge are read exactly, or not at all', () => {
  const params = (text: string) => readAuthParams(text, 'payment');
  expect(params('Payment a="1, \\"2\\"", b=tok, c=""')).toEqual({ a: '1, "2"', b: 'tok', c: '' });
  for (const text of [
    'Bearer a="1"',
    'Payment a="1',
    'Payment a="1" b="2"',
    'Payment a="1", a="2"',
    'Payment',
  ]) {
    expect(params(text)).toBeUndefined();
  }
});
