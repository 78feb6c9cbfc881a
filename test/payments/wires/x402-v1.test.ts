import { randomBytes } from 'node:crypto';
import { x402Client, x402HTTPClient } from '@x402/core/client';
import { PaymentRequiredV1Schema } from '@x402/core/schemas';
import { ExactEvmSchemeV1 } from '@x402/evm/exact/v1/client';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { beforeAll, describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import { expectForm } from '../../../src/payments/form.ts';
import type { Eip3009Offer } from '../../../src/payments/rail.ts';
import type { Challenge } from '../../../src/payments/wire.ts';
import { createX402Wire } from '../../../src/payments/wires/x402/index.ts';
import {
  ensureStockClients,
  importStockClient,
  STOCK_CLIENTS_TIMEOUT_MS,
} from '../../stock-clients/ensure.ts';
import { quoteOf } from '../rails/conformance.ts';
import { carriedBy, describeWire } from './conformance.ts';

const TOKEN = '0x036CbD53842c5426634e7929541eC2318f3dCF7e';
const OTHER_TOKEN = '0x808456652fdb597867f38412077A9182bf77359F';
const account = privateKeyToAccount(generatePrivateKey());
const wire = createX402Wire({
  log: silentLog,
  networks: [
    { chainId: 84_532, token: TOKEN },
    { chainId: 84_532, token: OTHER_TOKEN },
    { chainId: 31_337, token: TOKEN },
  ],
});
const offer: Eip3009Offer = {
  kind: 'eip3009',
  network: 'eip155:84532',
  asset: TOKEN,
  payTo: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C',
  units: 2_500n,
  tokenName: 'USDC',
  tokenVersion: '2',
  timeoutSeconds: 125,
};
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');
const decode = (text: string): unknown => JSON.parse(Buffer.from(text, 'base64').toString('utf8'));

/** The stock library as a client that speaks version 1 alone: it never sees a header of ours. */
const client = new x402HTTPClient(new x402Client().registerV1('base-sepolia', new ExactEvmSchemeV1(account)));
async function answer(challenge: Challenge): Promise<Record<string, string>> {
  const required = client.getPaymentRequiredResponse(() => undefined, challenge.body);
  return client.encodePaymentSignatureHeader(await client.createPaymentPayload(required));
}

function challengeOf(offers: Eip3009Offer[], by = wire): Challenge {
  const challenge = by.challenge({
    ...{ quote: quoteOf(), quoteToken: 'q2.token', offers },
    ...{ carried: carriedBy({}), refusal: undefined },
  });
  if (challenge === undefined) throw new Error('no challenge');
  return challenge;
}

const good = {
  x402Version: 1,
  scheme: 'exact',
  network: 'base-sepolia',
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
const withTerm = (changes: object) =>
  encode({
    ...good,
    payload: { ...good.payload, authorization: { ...good.payload.authorization, ...changes } },
  });

describeWire('x402 version 1', {
  wire,
  offers: [offer],
  credentialHeader: 'x-payment',
  answer: async (challenge) => ({ headers: await answer(challenge), quoteToken: undefined }),
  foreign: [
    {},
    { authorization: 'Payment eyJjaGFsbGVuZ2UiOnt9fQ' },
    { authorization: 'L402 token:preimage' },
    { 'x-payment-response': encode({ success: true }) },
  ],
  broken: [
    '',
    'not base64!',
    encode('text'),
    encode(null),
    encode({}),
    encode({ ...good, x402Version: 2 }),
    encode({ ...good, x402Version: '1' }),
    encode({ ...good, scheme: 'upto' }),
    encode({ ...good, network: 'eip155:84532' }),
    encode({ ...good, network: 'base' }),
    encode({ ...good, network: '__proto__' }),
    encode({ ...good, payload: undefined }),
    encode({ ...good, payload: { transaction: 'AAAA' } }),
    encode({ ...good, payload: { ...good.payload, signature: 'ab' } }),
    withTerm({ value: 2500 }),
    withTerm({ from: 'vitalik.eth' }),
    withTerm({ nonce: '0x01' }),
    encode({ ...good, padding: 'x'.repeat(16_000) }),
    Buffer.from('['.repeat(12_000)).toString('base64'),
  ],
});

test('the body is of version 1 and the header of version 2, each for its own clients', () => {
  const { headers, body } = challengeOf([offer]);
  expect(PaymentRequiredV1Schema.safeParse(body).success).toBe(true);
  expect(body).toMatchObject({
    x402Version: 1,
    error: 'Payment required',
    accepts: [
      {
        ...{ scheme: 'exact', network: 'base-sepolia', maxAmountRequired: '2500', asset: TOKEN },
        ...{ resource: quoteOf().resource.url, payTo: offer.payTo, maxTimeoutSeconds: 125 },
        extra: { name: 'USDC', version: '2' },
      },
    ],
  });
  expect(decode(headers[0]?.[1] ?? '')).toMatchObject({ x402Version: 2 });
});

test('version 1 offers nothing that its clients do not know, nor a second token of a network', () => {
  const local = { ...offer, network: 'eip155:31337' };
  const second: Eip3009Offer = { ...offer, asset: OTHER_TOKEN };
  const { body, headers } = challengeOf([offer, second, local]);
  expect(body).toMatchObject({ x402Version: 1, accepts: [{ network: 'base-sepolia', asset: TOKEN }] });
  expect(body.accepts).toHaveLength(1);
  expect(decode(headers[0]?.[1] ?? '')).toMatchObject({ accepts: { length: 3 } });
  expect(challengeOf([local]).body).toMatchObject({ x402Version: 2 });
});

test('without a list of tokens version 1 is not spoken', () => {
  const bare = createX402Wire({ log: silentLog });
  expect(challengeOf([offer], bare).body).toMatchObject({ x402Version: 2 });
  expect(bare.read(carriedBy({ 'x-payment': encode(good) }))).toBeUndefined();
});

test('a credential means the token of its network, and has no quote', () => {
  const reading = wire.read(carriedBy({ 'X-PAYMENT': encode(good) }));
  if (reading?.kind !== 'credential') throw new Error('unread');
  expect(reading.credential.quoteToken).toBeUndefined();
  const form = expectForm(reading.credential.form, 'eip3009');
  expect(form).toMatchObject({ network: 'eip155:84532', asset: TOKEN.toLowerCase(), value: 2_500n });
});

test('a receipt is of the version that was paid by', () => {
  const reading = wire.read(carriedBy({ 'x-payment': encode(good) }));
  if (reading?.kind !== 'credential') throw new Error('unread');
  const { form } = reading.credential;
  const transaction = `0x${'cd'.repeat(32)}`;
  const paid = {
    form,
    payer: 'ignored',
    rail: 'evm',
    reference: `${transaction}#2`,
    settledAt: new Date(),
  } as const;
  const receiptOf = (headers: Record<string, string>) =>
    wire.receipt({ ...paid, carried: carriedBy(headers) }).map(([name, value]) => [name, decode(value)]);
  const payer = account.address.toLowerCase();
  const old = { success: true, transaction, network: 'base-sepolia', payer };
  expect(receiptOf({ 'x-payment': encode(good) })).toEqual([['X-PAYMENT-RESPONSE', old]]);
  const recent = { ...old, network: 'eip155:84532', amount: '2500' };
  expect(receiptOf({ 'payment-signature': 'e30=' })).toEqual([['PAYMENT-RESPONSE', recent]]);
  expect(receiptOf({ 'payment-signature': 'e30=', 'x-payment': encode(good) })).toEqual([
    ['PAYMENT-RESPONSE', recent],
  ]);
  expect(wire.receipt(paid).map(([name]) => name)).toEqual(['PAYMENT-RESPONSE']);
});

describe('the networks of version 1', () => {
  type Types = { EvmNetworkToChainId: Map<string, number> };
  const lists: Types[] = [];
  beforeAll(async () => {
    await ensureStockClients();
    for (const owner of ['x402-fetch/node_modules/x402', 'x402']) {
      lists.push((await importStockClient(`${owner}/dist/esm/types/index.mjs`)) as Types);
    }
  }, STOCK_CLIENTS_TIMEOUT_MS);

  test('are exactly those that both published clients know', () => {
    expect(lists.length).toBe(2);
    for (const { EvmNetworkToChainId } of lists) {
      for (const [name, chainId] of EvmNetworkToChainId) {
        const every = createX402Wire({ log: silentLog, networks: [{ chainId, token: TOKEN }] });
        const { body } = challengeOf([{ ...offer, network: `eip155:${chainId}` }], every);
        expect(body).toMatchObject({ x402Version: 1, accepts: [{ network: name }] });
      }
      expect(EvmNetworkToChainId.size).toBe(15);
    }
  });
});
