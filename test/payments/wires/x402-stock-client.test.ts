import { wrapAxiosWithPaymentFromConfig } from '@x402/axios';
import { ExactEvmScheme } from '@x402/evm';
import { decodePaymentResponseHeader, wrapFetchWithPaymentFromConfig } from '@x402/fetch';
import axios from 'axios';
import { createWalletClient, type Hex, http, type WalletClient } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import { createX402Wire } from '../../../src/payments/wires/x402/index.ts';
import {
  ensureStockClients,
  importStockClient,
  STOCK_CLIENTS_TIMEOUT_MS,
} from '../../stock-clients/ensure.ts';
import { quoteOf } from '../rails/conformance.ts';
import { type EvmLab, startEvmLab } from '../rails/evm-lab.ts';
import { openShop, type Shop, tillOf } from './shop.ts';

/** `x402-fetch` 1.2.0. */
type LegacyFetch = {
  wrapFetchWithPayment(fetch: typeof globalThis.fetch, wallet: WalletClient): typeof globalThis.fetch;
  decodeXPaymentResponse(header: string): Record<string, unknown>;
};
/** `x402-axios` 0.7.2, and the axios it is used with. */
type LegacyAxios = { withPaymentInterceptor(client: Axios, wallet: WalletClient): Axios };
type Axios = Pick<typeof axios, 'post'>;

let lab: EvmLab;
let shop: Shop;
let legacyFetch: LegacyFetch;
let legacyAxios: LegacyAxios;
let createLegacyAxios: () => Axios;

beforeAll(async () => {
  await ensureStockClients();
  // What a package of its own time exports is written down above, and the tests show that it holds.
  legacyFetch = (await importStockClient('x402-fetch/dist/esm/index.mjs')) as LegacyFetch;
  legacyAxios = (await importStockClient('x402-axios/dist/esm/index.mjs')) as LegacyAxios;
  const theirs = (await importStockClient('axios/index.js')) as { default: typeof axios };
  createLegacyAxios = () => theirs.default.create();
}, STOCK_CLIENTS_TIMEOUT_MS);
beforeAll(async () => {
  lab = await startEvmLab();
  const { chainId, token } = { chainId: 84_532, token: lab.chain.anvil.token };
  const wire = createX402Wire({ log: silentLog, networks: [{ chainId, token }] });
  shop = await openShop({ wires: [wire], tills: [tillOf(lab.rail())], quote: quoteOf() });
});
afterAll(async () => {
  await shop.close();
  await lab.close();
});

const payerKey = (): Hex => lab.chain.anvil.payerPrivateKey;
const walletOf = (key: Hex) =>
  createWalletClient({
    account: privateKeyToAccount(key),
    chain: baseSepolia,
    transport: http(lab.chain.anvil.rpcUrl),
  });
const schemesOf = (key: Hex) => ({
  schemes: [{ network: 'eip155:*' as const, client: new ExactEvmScheme(privateKeyToAccount(key)) }],
});

/** Pays once by this client, and insists that exactly the price has moved. */
async function expectOnePayment<T>(pay: () => Promise<T>): Promise<T> {
  const { address } = privateKeyToAccount(payerKey());
  const [received, owned, served] = [await lab.received(), await lab.balanceOf(address), shop.served()];
  const answer = await pay();
  expect((await lab.received()) - received).toBe(2_500n);
  expect(owned - (await lab.balanceOf(address))).toBe(2_500n);
  expect(shop.served() - served).toBe(1);
  return answer;
}

async function expectMined(transaction: unknown): Promise<void> {
  expect(await lab.chain.anvil.rpc('eth_getTransactionReceipt', [transaction])).toMatchObject({
    status: '0x1',
  });
}

const sent = { method: 'POST', body: JSON.stringify({ hello: 'world' }) };
const said = sent.body;

test('the unmodified @x402/fetch client pays, is answered, and reads its receipt', async () => {
  const pay = wrapFetchWithPaymentFromConfig(fetch, schemesOf(payerKey()));
  const response = await expectOnePayment(() => pay(shop.url, sent));
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ quoteToken: 'q2.shop', said });
  const receipt = decodePaymentResponseHeader(response.headers.get('PAYMENT-RESPONSE') ?? '');
  expect(receipt).toMatchObject({ success: true, network: 'eip155:84532', amount: '2500' });
  expect(response.headers.get('X-PAYMENT-RESPONSE')).toBeNull();
  await expectMined(receipt.transaction);
});

test('the unmodified @x402/axios client pays, is answered, and reads its receipt', async () => {
  const client = wrapAxiosWithPaymentFromConfig(axios.create(), schemesOf(payerKey()));
  const { status, data, headers } = await expectOnePayment(() => client.post(shop.url, { hello: 'world' }));
  expect(status).toBe(200);
  expect(data).toEqual({ quoteToken: 'q2.shop', said });
  await expectMined(decodePaymentResponseHeader(String(headers['payment-response'])).transaction);
});

test('the unmodified x402-fetch 1.2.0 client pays by version 1, and reads the receipt of that version', async () => {
  const pay = legacyFetch.wrapFetchWithPayment(fetch, walletOf(payerKey()));
  const response = await expectOnePayment(() => pay(shop.url, sent));
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ quoteToken: null, said });
  const receipt = legacyFetch.decodeXPaymentResponse(response.headers.get('X-PAYMENT-RESPONSE') ?? '');
  expect(receipt).toMatchObject({ success: true, network: 'base-sepolia' });
  expect(response.headers.get('PAYMENT-RESPONSE')).toBeNull();
  await expectMined(receipt.transaction);
});

test('the unmodified x402-axios 0.7.2 client pays by version 1, and reads the receipt of that version', async () => {
  const client = legacyAxios.withPaymentInterceptor(createLegacyAxios(), walletOf(payerKey()));
  const { status, data, headers } = await expectOnePayment(() => client.post(shop.url, { hello: 'world' }));
  expect(status).toBe(200);
  expect(data).toEqual({ quoteToken: null, said });
  await expectMined(legacyFetch.decodeXPaymentResponse(String(headers['x-payment-response'])).transaction);
});

test('a client whose purse is empty reads why, and nothing moves', async () => {
  const key = await lab.createPayer(0n);
  const received = await lab.received();
  for (const pay of [
    wrapFetchWithPaymentFromConfig(fetch, schemesOf(key)),
    legacyFetch.wrapFetchWithPayment(fetch, walletOf(key)),
  ]) {
    const response = await pay(shop.url, sent);
    expect(response.status).toBe(402);
    expect(await response.json()).toMatchObject({ error: expect.stringContaining('owns 0 token units') });
  }
  expect(await lab.received()).toBe(received);
});
