import { randomBytes } from 'node:crypto';
import { x402Client, x402HTTPClient } from '@x402/core/client';
import {
  decodePaymentRequiredHeader,
  decodePaymentResponseHeader,
  decodePaymentSignatureHeader,
  encodePaymentRequiredHeader,
  encodePaymentResponseHeader,
} from '@x402/core/http';
import { PaymentRequiredV2Schema } from '@x402/core/schemas';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import { expectForm, formSchema } from '../../../src/payments/form.ts';
import type { Eip3009Offer } from '../../../src/payments/rail.ts';
import type { Challenge } from '../../../src/payments/wire.ts';
import { createX402Wire } from '../../../src/payments/wires/x402/index.ts';
import { quoteOf } from '../rails/conformance.ts';
import { carriedBy, describeWire } from './conformance.ts';

const wire = createX402Wire({ log: silentLog });
const account = privateKeyToAccount(generatePrivateKey());

const offer: Eip3009Offer = {
  kind: 'eip3009',
  network: 'eip155:84532',
  asset: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
  payTo: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C',
  units: 2_500n,
  tokenName: 'USDC',
  tokenVersion: '2',
  timeoutSeconds: 125,
};

/** The stock client, as published. */
const client = new x402HTTPClient(new x402Client().register('eip155:84532', new ExactEvmScheme(account)));

async function answer(challenge: Challenge): Promise<Record<string, string>> {
  const required = client.getPaymentRequiredResponse(
    (name) => carriedBy(Object.fromEntries(challenge.headers)).header(name),
    challenge.body,
  );
  return client.encodePaymentSignatureHeader(await client.createPaymentPayload(required));
}

const paid = { rail: 'evm', settledAt: new Date() } as const;

function challengeOf(quoteToken = 'q1.token'): Challenge {
  const challenge = wire.challenge({
    ...{ quote: quoteOf(), quoteToken, offers: [offer] },
    ...{ carried: carriedBy({}), refusal: undefined },
  });
  if (challenge === undefined) throw new Error('no challenge');
  return challenge;
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');

const good = {
  x402Version: 2,
  resource: { url: 'https://gateway.example/x' },
  accepted: {
    scheme: 'exact',
    network: offer.network,
    amount: '2500',
    asset: offer.asset,
    payTo: offer.payTo,
    maxTimeoutSeconds: 125,
    extra: { name: 'USDC', version: '2' },
  },
  payload: {
    signature: `0x${'ab'.repeat(65)}`,
    authorization: {
      from: account.address,
      to: offer.payTo,
      value: '2500',
      validAfter: '0',
      validBefore: '1900000000',
      nonce: `0x${randomBytes(32).toString('hex')}`,
    },
  },
};
const withPayload = (changes: object) => encode({ ...good, payload: { ...good.payload, ...changes } });
const withTerm = (changes: object) =>
  withPayload({ authorization: { ...good.payload.authorization, ...changes } });

describeWire('x402', {
  wire,
  offers: [offer],
  credentialHeader: 'payment-signature',
  answer: async (challenge) => ({ headers: await answer(challenge), quoteToken: 'echoed' }),
  foreign: [
    {},
    { 'x-payment': encode({ x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload: {} }) },
    { authorization: 'Payment eyJjaGFsbGVuZ2UiOnt9fQ' },
    { authorization: 'L402 token:preimage' },
    { authorization: 'Bearer mcp_0123456789abcdef0123456789abcdef0123456789abcdef' },
  ],
  broken: [
    '',
    'not base64!',
    encode('text'),
    encode(null),
    encode([]),
    encode({}),
    `${encode(good)}, ${encode(good)}`,
    encode({ ...good, x402Version: 1 }),
    encode({ ...good, x402Version: '2' }),
    encode({ ...good, accepted: undefined }),
    encode({ ...good, accepted: { ...good.accepted, scheme: 'upto' } }),
    encode({ ...good, accepted: { ...good.accepted, network: 'solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp' } }),
    encode({ ...good, accepted: { ...good.accepted, asset: 'USDC' } }),
    withPayload({ signature: 'ab' }),
    withPayload({ signature: `0x${'ab'.repeat(5_000)}` }),
    withPayload({ authorization: undefined, permit2Authorization: {} }),
    withTerm({ value: 2500 }),
    withTerm({ value: '-1' }),
    withTerm({ value: '0x9c4' }),
    withTerm({ from: 'vitalik.eth' }),
    withTerm({ nonce: '0x01' }),
    encode({ ...good, extensions: { 'millicent-quote': { info: { quote: 1 } } } }),
    encode({ ...good, extensions: { 'millicent-quote': { info: { quote: '' } } } }),
    encode({ ...good, extensions: { 'millicent-quote': { info: { quote: 'q'.repeat(4_097) } } } }),
    encode({ ...good, padding: 'x'.repeat(16_000) }),
    Buffer.from('['.repeat(12_000)).toString('base64'),
  ],
});

test('a credential without our extension is read, and has no quote', () => {
  const reading = wire.read(carriedBy({ 'PAYMENT-SIGNATURE': encode(good) }));
  expect(reading).toMatchObject({ kind: 'credential', credential: { wire: 'x402', quoteToken: undefined } });
  if (reading?.kind !== 'credential') return;
  const { authorization, signature } = good.payload;
  expect(reading.credential.form).toEqual(
    formSchema.parse({
      kind: 'eip3009',
      network: offer.network,
      asset: offer.asset,
      signature,
      ...authorization,
    }),
  );
});

test('a challenge is what the protocol says, in header and body', () => {
  const { headers, body } = challengeOf();
  const [header] = headers;
  if (header === undefined) throw new Error('no header');
  expect(header[0]).toBe('PAYMENT-REQUIRED');
  const required = decodePaymentRequiredHeader(header[1]);
  expect(PaymentRequiredV2Schema.safeParse(required).success).toBe(true);
  expect(required.accepts).toEqual([
    {
      scheme: 'exact',
      network: 'eip155:84532',
      amount: '2500',
      asset: offer.asset,
      payTo: offer.payTo,
      maxTimeoutSeconds: 125,
      extra: { name: 'USDC', version: '2' },
    },
  ]);
  expect(required.resource.mimeType).toBe('application/json');
  expect(body).toEqual({ x402Version: 2, accepts: required.accepts, error: required.error });
});

test('headers are encoded exactly as the protocol library encodes them', async () => {
  const [required] = challengeOf().headers;
  if (required === undefined) throw new Error('no header');
  expect(required[1]).toBe(encodePaymentRequiredHeader(decodePaymentRequiredHeader(required[1])));
  const form = formSchema.parse({
    kind: 'eip3009',
    network: offer.network,
    asset: offer.asset,
    signature: good.payload.signature,
    ...good.payload.authorization,
  });
  const [receipt] = wire.receipt({ ...paid, form, payer: 'ignored', reference: `0x${'cd'.repeat(32)}` });
  if (receipt === undefined) throw new Error('no receipt');
  expect(receipt[1]).toBe(encodePaymentResponseHeader(decodePaymentResponseHeader(receipt[1])));
});

test('a receipt says who paid what, and the bare transaction hash of a payment in a batch', () => {
  const reading = wire.read(carriedBy({ 'payment-signature': encode(good) }));
  if (reading?.kind !== 'credential') throw new Error('unread');
  const form = expectForm(reading.credential.form, 'eip3009');
  const hash = `0x${'cd'.repeat(32)}`;
  const [receipt] = wire.receipt({
    ...{ ...paid, form, payer: `eip155:84532:${form.from}`, reference: `${hash}#2` },
  });
  expect(receipt?.[0]).toBe('PAYMENT-RESPONSE');
  expect(decodePaymentResponseHeader(receipt?.[1] ?? '')).toEqual({
    success: true,
    transaction: hash,
    network: 'eip155:84532',
    payer: account.address.toLowerCase(),
    amount: '2500',
  });
});

test('the stock client echoes our extension untouched', async () => {
  const headers = await answer(challengeOf('q1.secret'));
  const payload = decodePaymentSignatureHeader(carriedBy(headers).header('payment-signature') ?? '');
  expect(payload.extensions?.['millicent-quote']).toMatchObject({ info: { quote: 'q1.secret' } });
});
