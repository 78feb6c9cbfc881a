import { createHash, randomBytes } from 'node:crypto';
import { fetch402, fetchWithL402, fetchWithMpp } from '@getalby/lightning-tools/402';
import { Challenge as MppxChallenge, Receipt } from 'mppx';
import { evm, Mppx, stripe, tempo } from 'mppx/client';
import type { validate } from 'mppx/validation';
import { createClient, type Hex, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { tempoModerato } from 'viem/tempo/chains';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256Hex } from '../../../src/core/bytes.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { expectForm } from '../../../src/payments/form.ts';
import { createL402Wire } from '../../../src/payments/wires/l402/index.ts';
import { createX402Wire } from '../../../src/payments/wires/x402/index.ts';
import {
  ensureStockClients,
  importStockClient,
  STOCK_CLIENTS_TIMEOUT_MS,
} from '../../stock-clients/ensure.ts';
import { quoteOf } from '../rails/conformance.ts';
import { type EvmLab, startEvmLab } from '../rails/evm-lab.ts';
import { startTempoLab, type TempoLab } from '../rails/tempo/lab.ts';
import { bolt11Offer, lightningClient, secret, sptOffer, wireOf } from './mpp-fixtures.ts';
import { openShop, type Shop, type Takings, type Till, tillOf } from './shop.ts';

let evmLab: EvmLab;
let tempoLab: TempoLab;
let shop: Shop;
/** The same with every wire: the lines of L402 stand after those of `Payment`. */
let fullShop: Shop;
const closers: (() => Promise<void>)[] = [];

const mpp = wireOf(undefined, '127.0.0.1');
const x402 = createX402Wire({ log: silentLog });
const l402 = createL402Wire({ secrets: [secret], clock: systemClock, log: silentLog });

/** Invoices that the node has issued, by hash, with the preimages that paying them reveals. */
const preimages = new Map<string, string>();
/** Stripe's side: tokens that were granted to the seller. */
const granted = new Set<string>();

const lightningTill: Till = {
  name: 'lightning',
  forms: ['preimage'],
  async offer() {
    const preimage = randomBytes(32);
    const paymentHash = createHash('sha256').update(preimage).digest('hex');
    preimages.set(paymentHash, preimage.toString('hex'));
    return [{ ...bolt11Offer, paymentHash, invoice: `lnbcrt40n1${paymentHash}` }];
  },
  async take({ form }): Promise<Takings> {
    const { paymentHash, preimage } = expectForm(form, 'preimage');
    if (sha256Hex(Buffer.from(preimage, 'hex')) !== paymentHash || !preimages.delete(paymentHash)) {
      return { kind: 'refused', reason: 'No such payment.' };
    }
    return { kind: 'taken', payer: `lightning:${paymentHash}`, reference: paymentHash };
  },
};

const stripeTill: Till = {
  name: 'stripe',
  forms: ['spt'],
  offer: async () => [sptOffer],
  async take({ form }): Promise<Takings> {
    const { token } = expectForm(form, 'spt');
    if (!granted.delete(token)) return { kind: 'refused', reason: 'No such token.' };
    return { kind: 'taken', payer: 'stripe:card', reference: `pi_${token.slice(4)}` };
  },
};

/** What an agent's wallet does with an invoice of the node above. */
async function payInvoice(invoice: string): Promise<string> {
  const preimage = preimages.get(invoice.slice('lnbcrt40n1'.length));
  if (preimage === undefined) throw new Error('unknown invoice');
  return preimage;
}

beforeAll(async () => {
  [evmLab, tempoLab] = await Promise.all([startEvmLab(), startTempoLab()]);
  const tills = [lightningTill, stripeTill, tillOf(tempoLab.rail()), tillOf(evmLab.rail())];
  shop = await openShop({ wires: [x402, mpp], tills, quote: quoteOf() });
  fullShop = await openShop({ wires: [x402, mpp, l402], tills, quote: quoteOf() });
  closers.push(shop.close, fullShop.close, tempoLab.close, evmLab.close);
});
afterAll(async () => {
  for (const close of closers) await close();
});

const BODY = '{"text":"hello"}';
/** Made anew for each request: mppx's client writes into what it is given. */
const sent = () => ({ method: 'POST', body: BODY });

/** The client pays once, is answered for the body it sent, and reads a receipt of this method. */
async function expectPaid(pay: () => Promise<Response>, method: string): Promise<Receipt.Receipt> {
  const served = shop.served();
  const response = await pay();
  expect(await response.json()).toEqual({ quoteToken: 'q2.shop', said: BODY });
  expect(response.status).toBe(200);
  expect(shop.served() - served).toBe(1);
  const receipt = Receipt.fromResponse(response);
  expect(receipt).toMatchObject({ method, status: 'success', challengeId: expect.any(String) });
  return receipt;
}

test('the unmodified mppx client pays by EIP-3009, and exactly the price moves', async () => {
  const account = privateKeyToAccount(evmLab.chain.anvil.payerPrivateKey);
  const { fetch } = Mppx.create({
    polyfill: false,
    methods: [evm.charge({ account, currencies: [evm.assets.baseSepolia.USDC], maxAmount: '0.10' })],
  });
  const before = await evmLab.received();
  const receipt = await expectPaid(() => fetch(shop.url, sent()), 'evm');
  expect((await evmLab.received()) - before).toBe(2_500n);
  expect(await evmLab.chain.anvil.rpc('eth_getTransactionReceipt', [receipt.reference])).toMatchObject({
    status: '0x1',
  });
});

test.each(['pull', 'push'] as const)('the unmodified mppx client pays on Tempo (%s)', async (mode) => {
  const { fetch } = tempoClient(await tempoLab.tempo.fundPayer(), mode);
  const before = await tempoLab.received();
  const receipt = await expectPaid(() => fetch(shop.url, sent()), 'tempo');
  expect((await tempoLab.received()) - before).toBe(2_500n);
  expect(await tempoLab.tempo.rpc('eth_getTransactionReceipt', [receipt.reference])).toMatchObject({
    status: '0x1',
  });
});

function tempoClient(key: Hex, mode: 'pull' | 'push') {
  const { rpcUrl } = tempoLab.tempo;
  const chain = { ...tempoModerato, rpcUrls: { default: { http: [rpcUrl] } } };
  const account = privateKeyToAccount(key);
  return Mppx.create({
    polyfill: false,
    methods: [
      tempo.charge({
        ...{ account, mode },
        getClient: () => createClient({ account, chain, transport: http(rpcUrl), pollingInterval: 20 }),
      }),
    ],
  });
}

test('the unmodified mppx client pays with a shared payment token for the amount and seller it was asked', async () => {
  const asked: object[] = [];
  const { fetch } = Mppx.create({
    polyfill: false,
    methods: [
      stripe.charge({
        paymentMethod: 'pm_card_visa',
        externalId: 'order-7',
        async createToken({ amount, currency, networkId }) {
          asked.push({ amount, currency, networkId });
          const token = `spt_${randomBytes(8).toString('hex')}`;
          granted.add(token);
          return token;
        },
      }),
    ],
  });
  const receipt = await expectPaid(() => fetch(shop.url, sent()), 'stripe');
  expect(receipt).toMatchObject({ reference: expect.stringMatching(/^pi_/), externalId: 'order-7' });
  expect(asked).toEqual([{ amount: '50', currency: 'usd', networkId: sptOffer.networkId }]);
});

test('the unmodified mppx client pays by a Lightning method of its own', async () => {
  const { fetch } = Mppx.create({ polyfill: false, methods: [lightningClient(payInvoice)] });
  const receipt = await expectPaid(() => fetch(shop.url, sent()), 'lightning');
  expect(receipt.reference).toMatch(/^[0-9a-f]{64}$/);
});

test('a bearer key travels beside the payment of the mppx client', async () => {
  const headers = { authorization: 'Bearer mcp_key' };
  const seen: (string | null)[] = [];
  const { fetch: watched } = Mppx.create({
    ...{ polyfill: false, methods: [lightningClient(payInvoice)] },
    fetch(input, init) {
      seen.push(new Headers(init?.headers).get('authorization'));
      return fetch(input, init);
    },
  });
  await expectPaid(() => watched(shop.url, { ...sent(), headers }), 'lightning');
  expect(seen).toEqual(['Bearer mcp_key', 'Bearer mcp_key']);
});

const wallet = {
  payInvoice: async ({ invoice }: { invoice: string }) => ({ preimage: await payInvoice(invoice) }),
};

test.each([
  ['fetchWithMpp', fetchWithMpp],
  ['fetch402', fetch402],
] as const)('the unmodified @getalby/lightning-tools client pays (%s)', async (_, pay) => {
  await expectPaid(() => pay(shop.url, sent(), { wallet }), 'lightning');
});

test.each([
  ['fetchWithMpp', fetchWithMpp],
  ['fetch402', fetch402],
  ['fetchWithL402', fetchWithL402],
] as const)(
  'beside all other challenges the client of @getalby/lightning-tools pays (%s)',
  async (_, pay) => {
    const served = fullShop.served();
    const response = await pay(fullShop.url, sent(), { wallet });
    expect(await response.json()).toEqual({ quoteToken: 'q2.shop', said: BODY });
    expect(fullShop.served() - served).toBe(1);
  },
);

test('a client that accepts one method is shown one challenge, and the rest of a 402 stays', async () => {
  const response = await fetch(shop.url, { ...sent(), headers: { 'accept-payment': 'lightning/charge' } });
  expect(MppxChallenge.fromResponseList(response).map(({ method }) => method)).toEqual(['lightning']);
  const all = MppxChallenge.fromResponseList(await fetch(shop.url, sent()));
  expect(all.map(({ method }) => method)).toEqual(['evm', 'tempo', 'stripe', 'lightning']);
});

test('a payment for one body does not buy another: it is refused by its type, and the payer keeps it', async () => {
  const response = await fetch(shop.url, sent());
  const { createCredential } = Mppx.create({ polyfill: false, methods: [lightningClient(payInvoice)] });
  const credential = await createCredential(response);
  const show = (body: string, shown = credential) =>
    fetch(shop.url, { method: 'POST', body, headers: { 'payment-authorization': shown } });
  const served = shop.served();
  const refused = await show('{"text":"another"}');
  expect(refused.status).toBe(402);
  expect(await refused.json()).toMatchObject({
    type: 'https://paymentauth.org/problems/lightning/invalid-preimage',
    error: expect.stringContaining('another body'),
  });
  expect(refused.headers.get('payment-receipt')).toBeNull();
  expect(shop.served()).toBe(served);
  expect((await show(BODY)).status).toBe(200);
});

test(
  "mppx's own conformance check finds no fault with challenges and refusals",
  async () => {
    await ensureStockClients();
    // The same version as the project's own, which cannot be loaded: its package does not name what it needs.
    const checker = (await importStockClient('mppx/dist/validation/index.js')) as {
      validate: typeof validate;
    };
    const { endpoints } = await checker.validate({
      url: new URL(shop.url).origin,
      ...{ endpoint: 'POST:/paid', body: BODY, skipPayment: true },
    });
    const checks = endpoints.flatMap(({ challenge, errorHandling }) => [...challenge, ...errorHandling]);
    expect(checks.filter(({ severity }) => severity !== 'pass')).toEqual([]);
    expect(checks.map(({ label }) => label)).toEqual(
      expect.arrayContaining([
        'Challenge parseable',
        'Challenge expires in the future',
        'Realm matches server hostname',
        '[evm] Has chainId',
        '[tempo] Valid recipient address',
        '[stripe] Has networkId',
        'x402 payment challenge',
        'Malformed credential returns 402',
        'Error response includes fresh challenge',
      ]),
    );
  },
  STOCK_CLIENTS_TIMEOUT_MS,
);
