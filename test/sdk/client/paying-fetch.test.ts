import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { afterEach, expect, test } from 'vitest';
import {
  createPayingFetch,
  type EvmAccount,
  evmPayer,
  InvoiceNotPaidError,
  lightningPayer,
  type PayingFetchOptions,
  PaymentFailedError,
  PaymentUnknownError,
  RequestRefusedError,
  SpendingLimitError,
  stripePayer,
} from '../../../src/sdk/client/index.ts';
import { makeInvoice } from './invoice.ts';
import { type Fault, openShop, type Shop, type ShopOptions, TOKEN } from './shop.ts';

const shops: Shop[] = [];
afterEach(async () => {
  await Promise.all(shops.splice(0).map((shop) => shop.close()));
});

async function open(options: ShopOptions = {}): Promise<Shop> {
  const shop = await openShop(options);
  shops.push(shop);
  return shop;
}

/** A wallet that counts what it signs. */
function createSigner(): EvmAccount & { signed: number } {
  const account = privateKeyToAccount(generatePrivateKey());
  const signer = {
    address: account.address,
    signed: 0,
    signTypedData: ((message) => {
      signer.signed += 1;
      return account.signTypedData(message);
    }) as EvmAccount['signTypedData'],
  };
  return signer;
}

function clientOf(shop: Shop, changes: Partial<PayingFetchOptions> = {}) {
  const signer = createSigner();
  const client = createPayingFetch({
    payers: [evmPayer({ account: signer, tokens: [TOKEN] })],
    limits: { perCall: 1_000n, total: 100_000n },
    allowedHosts: [shop.host],
    attemptTimeoutMs: 2_000,
    deadlineMs: 5_000,
    ...changes,
  });
  return { ...client, signer };
}

const post = { method: 'POST', body: 'hello' };

test('a 402 is paid once, and the answer tells what it cost, with its receipt', async () => {
  const shop = await open();
  const { fetch, spending, signer } = clientOf(shop);
  const response = await fetch(shop.url, post);
  expect(response.status).toBe(200);
  expect(response.url).toBe(shop.url);
  expect(await response.json()).toMatchObject({ said: 'hello' });
  const [id] = shop.taken;
  expect(response.payment).toMatchObject({
    ...{ rail: 'evm', state: 'spent', mcents: 250n, units: 2_500n, url: shop.url },
    unit: `eip155:84532/erc20:${TOKEN.address.toLowerCase()}`,
    ...{ reference: `ref:${id}`, receiptId: `id:${id}`, receipt: `jws:${id}` },
  });
  expect(spending()).toMatchObject({ mcents: 250n, sats: 0n, unknownMcents: 0n });
  expect(spending().byRail.evm).toBe(250n);
  expect([signer.signed, shop.taken.size]).toEqual([1, 1]);
});

test('what needs no payment passes through untouched', async () => {
  const shop = await open();
  const { fetch, spending } = clientOf(shop, { payers: [] });
  const response = await fetch(shop.url, post);
  expect(response.status).toBe(402);
  expect(await response.json()).toMatchObject({ error: 'Payment required' });
  expect(spending()).toMatchObject({ mcents: 0n, calls: [] });
});

test.each<{ faults: Fault[] }>([
  { faults: ['drop-before'] },
  { faults: ['drop-after'] },
  { faults: ['drop-body'] },
  { faults: ['in-flight', 'in-flight', 'in-flight'] },
  { faults: ['unknown'] },
  { faults: ['proxy-error'] },
  { faults: ['drop-after', 'in-flight', 'unknown', 'drop-body', 'drop-before'] },
])('the same credential is sent again, and nothing is signed anew, after: %j', async ({ faults }) => {
  const shop = await open({ faults });
  const { fetch, spending, signer } = clientOf(shop);
  const response = await fetch(shop.url, post);
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ said: 'hello' });
  expect(shop.shown).toHaveLength(faults.length + 1);
  expect(new Set(shop.shown.map(({ id }) => id)).size).toBe(1);
  expect([signer.signed, shop.taken.size, spending().mcents]).toEqual([1, 1, 250n]);
});

test('a fresh challenge after a credential is handed over, not paid', async () => {
  const shop = await open({ faults: ['challenge'] });
  const { fetch, spending, signer } = clientOf(shop);
  const response = await fetch(shop.url, post);
  expect(response.status).toBe(402);
  expect(signer.signed).toBe(1);
  // Nobody said that it kept nothing: what was signed could still be settled.
  expect(response.payment?.state).toBe('unknown');
  expect(spending()).toMatchObject({ mcents: 250n, unknownMcents: 250n });
});

test.each<[Fault, number]>([
  ['challenge-free', 402],
  ['tool-failed', 502],
])('a call that cost nothing (%s) gives its budget back', async (fault, status) => {
  const shop = await open({ faults: [fault] });
  const { fetch, spending, signer } = clientOf(shop, { limits: { perCall: 250n, total: 250n } });
  const failed = await fetch(shop.url, post);
  expect([failed.status, failed.payment?.state]).toEqual([status, 'returned']);
  expect(spending().mcents).toBe(0n);
  expect((await fetch(shop.url, post)).status).toBe(200);
  expect([signer.signed, spending().mcents]).toEqual([2, 250n]);
});

test('a payment that was used for something else stays booked, and is not made again', async () => {
  const shop = await open({ faults: ['used'] });
  const { fetch, spending, signer } = clientOf(shop);
  const response = await fetch(shop.url, post);
  expect([response.status, response.payment?.state]).toEqual([409, 'unknown']);
  expect([signer.signed, spending().mcents]).toEqual([1, 250n]);
});

test.each([
  ['per-call', { perCall: 249n }, 249n],
  ['per-hour', { perCall: 250n, perHour: 249n }, 249n],
  ['total', { perCall: 250n, total: 249n }, 249n],
] as const)(
  'a price above the %s limit is refused before anything is signed',
  async (limit, limits, available) => {
    const shop = await open();
    const { fetch, spending, signer } = clientOf(shop, { limits });
    const refusal = await fetch(shop.url, post).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(SpendingLimitError);
    expect(refusal).toMatchObject({ limit, amount: 250n, available, unit: 'mcents' });
    expect([signer.signed, shop.shown.length, spending().mcents]).toEqual([0, 0, 0n]);
  },
);

test('20 calls at once never exceed the limit, and as many as it allows are paid', async () => {
  const shop = await open();
  const { fetch, spending, signer } = clientOf(shop, { limits: { perCall: 250n, total: 1_800n } });
  const calls = Array.from({ length: 20 }, () => fetch(shop.url, post));
  const settled = await Promise.allSettled(calls);
  expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(7);
  for (const call of settled) {
    if (call.status === 'rejected') expect(call.reason).toMatchObject({ limit: 'total' });
  }
  expect([signer.signed, shop.taken.size, spending().mcents]).toEqual([7, 7, 1_750n]);
});

test('the hourly limit opens again an hour later, and not a minute before', async () => {
  let now = new Date('2026-01-01T00:00:30Z');
  const shop = await open({ rails: ['stripe'], mcents: 50_000n });
  const { fetch } = clientOf(shop, {
    ...{ clock: { now: () => now }, limits: { perCall: 50_000n, perHour: 50_000n } },
    payers: [stripePayer({ createSpt: async ({ challengeId }) => `spt_${sptSafe(challengeId)}` })],
  });
  expect((await fetch(shop.url, post)).status).toBe(200);
  now = new Date('2026-01-01T01:00:29Z');
  await expect(fetch(shop.url, post)).rejects.toMatchObject({ limit: 'per-hour', available: 0n });
  now = new Date('2026-01-01T01:01:30Z');
  expect((await fetch(shop.url, post)).status).toBe(200);
});

const sptSafe = (text: string) => text.replaceAll(/[^A-Za-z0-9]/g, '');

test('a host that is not named gets nothing: no request, no key', async () => {
  const shop = await open();
  const { fetch } = clientOf(shop, { allowedHosts: ['shop.example'], key: 'mcp_secret' });
  await expect(fetch(shop.url, post)).rejects.toMatchObject({ name: 'RequestRefusedError', reason: 'host' });
  expect([shop.asked, shop.shown.length]).toEqual([0, 0]);
});

test('a redirect to another host is refused before a payment, and after one', async () => {
  const shop = await open({ redirectTo: 'http://thief.example/paid', faults: ['redirect'] });
  const { fetch, spending, signer } = clientOf(shop);
  const moved = `http://${shop.host}/moved`;
  await expect(fetch(moved, post)).rejects.toMatchObject({ reason: 'redirect' });
  expect([signer.signed, spending().mcents]).toEqual([0, 0n]);
  const after = await fetch(shop.url, post).catch((error: unknown) => error);
  expect(after).toBeInstanceOf(PaymentUnknownError);
  expect((after as PaymentUnknownError).cause).toBeInstanceOf(RequestRefusedError);
  expect([signer.signed, spending().unknownMcents]).toEqual([1, 250n]);
});

test('a redirect on the same host is followed, and what it leads to is paid there', async () => {
  const shop = await open();
  const { fetch, signer } = clientOf(shop);
  const response = await fetch(`http://${shop.host}/moved`, post);
  expect([response.status, response.payment?.url]).toEqual([200, shop.url]);
  expect(await response.json()).toMatchObject({ said: 'hello' });
  expect([signer.signed, shop.taken.size]).toEqual([1, 1]);
});

test('a shop that falls silent leaves the outcome unknown; the same call asks again with the same payment', async () => {
  const shop = await open({ faults: Array<Fault>(50).fill('drop-after') });
  const { fetch, spending, signer } = clientOf(shop, { deadlineMs: 600 });
  const error = await fetch(shop.url, post).catch((cause: unknown) => cause);
  if (!(error instanceof PaymentUnknownError)) throw new Error(String(error));
  expect(spending()).toMatchObject({ mcents: 250n, unknownMcents: 250n });
  shop.faults.length = 0;
  const response = await fetch(shop.url, { ...post, idempotencyKey: error.spend.idempotencyKey });
  expect([response.status, response.payment?.state]).toEqual([200, 'spent']);
  expect(spending()).toMatchObject({ mcents: 250n, unknownMcents: 0n });
  expect([signer.signed, shop.taken.size]).toEqual([1, 1]);
});

test('one idempotency key is one payment, however often and however many at once', async () => {
  const shop = await open();
  const { fetch, spending, signer } = clientOf(shop);
  const call = () => fetch(shop.url, { ...post, idempotencyKey: 'order-7' });
  const responses = await Promise.all(Array.from({ length: 20 }, call));
  responses.push(await fetch(shop.url, { ...post, headers: { 'Idempotency-Key': 'order-7' } }));
  for (const response of responses) expect(response.status).toBe(200);
  expect([signer.signed, shop.taken.size, spending().mcents]).toEqual([1, 1, 250n]);
  expect(shop.shown.every(({ idempotencyKey }) => idempotencyKey === 'order-7')).toBe(true);
});

test('an idempotency key with another request is refused', async () => {
  const shop = await open();
  const { fetch, signer } = clientOf(shop);
  await fetch(shop.url, { ...post, idempotencyKey: 'order-7' });
  const other = fetch(shop.url, { ...post, body: 'other', idempotencyKey: 'order-7' });
  await expect(other).rejects.toMatchObject({ reason: 'idempotency-key-reused' });
  expect(signer.signed).toBe(1);
});

test('a call that was refused or failed for free is, under its key, not signed for again', async () => {
  const shop = await open({ faults: ['tool-failed'] });
  const { fetch, spending, signer } = clientOf(shop);
  const call = () => fetch(shop.url, { ...post, idempotencyKey: 'order-8' });
  expect((await call()).status).toBe(502);
  expect(spending().mcents).toBe(0n);
  // The shop takes it now: what was returned is booked again.
  expect((await call()).status).toBe(200);
  expect([signer.signed, spending().mcents]).toEqual([1, 250n]);
});

test('a signer that fails costs nothing, and the call can be paid later', async () => {
  const shop = await open();
  const account = createSigner();
  let isBroken = true;
  const broken: EvmAccount = {
    address: account.address,
    signTypedData: (message) => {
      if (isBroken) throw new Error('the device is locked');
      return account.signTypedData(message);
    },
  };
  const { fetch, spending } = clientOf(shop, { payers: [evmPayer({ account: broken, tokens: [TOKEN] })] });
  const call = () => fetch(shop.url, { ...post, idempotencyKey: 'order-9' });
  await expect(call()).rejects.toBeInstanceOf(PaymentFailedError);
  expect([spending().mcents, shop.shown.length]).toEqual([0n, 0]);
  isBroken = false;
  expect((await call()).status).toBe(200);
});

test('tokens and networks that are not configured are never signed for', async () => {
  const shop = await open();
  const account = createSigner();
  const others = [
    { ...TOKEN, network: 'eip155:8453' },
    { ...TOKEN, address: '0x0000000000000000000000000000000000000001' },
  ] as const;
  const { fetch } = clientOf(shop, { payers: [evmPayer({ account, tokens: others })] });
  expect((await fetch(shop.url, post)).status).toBe(402);
  const short = clientOf(shop, {
    payers: [evmPayer({ account, tokens: [TOKEN], validSecondsMax: 60 })],
  });
  expect((await short.fetch(shop.url, post)).status).toBe(402);
  expect(account.signed).toBe(0);
});

test('a caller that gives up while its payment is under way finds it booked', async () => {
  const shop = await open({ faults: ['silent'] });
  const { fetch, spending, signer } = clientOf(shop);
  const controller = new AbortController();
  const call = fetch(shop.url, { ...post, signal: controller.signal, idempotencyKey: 'order-10' });
  while (shop.shown.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  controller.abort();
  await expect(call).rejects.toBeInstanceOf(PaymentUnknownError);
  expect(spending().unknownMcents).toBe(250n);
  expect((await fetch(shop.url, { ...post, idempotencyKey: 'order-10' })).status).toBe(200);
  expect([signer.signed, spending().mcents]).toEqual([1, 250n]);
});

test('a key pays first, and what it was charged is booked', async () => {
  const key = { text: 'mcp_key', balance: 600n };
  const shop = await open({ key });
  const { fetch, spending, signer } = clientOf(shop, { key: key.text });
  const response = await fetch(shop.url, post);
  expect(response.payment).toMatchObject({ rail: 'key', mcents: 250n, state: 'spent' });
  await fetch(shop.url, post);
  expect(spending()).toMatchObject({ mcents: 500n, byRail: { key: 500n, evm: 0n } });
  // The key is empty: the rail pays, and the key goes along.
  expect((await fetch(shop.url, post)).payment).toMatchObject({ rail: 'evm' });
  expect([signer.signed, key.balance, spending().mcents]).toEqual([1, 100n, 750n]);
});

test.each<{ faults: Fault[] }>([
  { faults: ['drop-after'] },
  { faults: ['drop-before', 'unknown', 'drop-body'] },
])('a call by key is charged once although its answer was lost: %j', async ({ faults }) => {
  const key = { text: 'mcp_key', balance: 1_000n };
  const shop = await open({ key, faults });
  const { fetch, spending } = clientOf(shop, { key: key.text });
  expect((await fetch(shop.url, post)).status).toBe(200);
  expect([key.balance, spending().mcents]).toEqual([750n, 250n]);
});

test('a key spends within the limits too: each call takes its share until its price is known', async () => {
  const key = { text: 'mcp_key', balance: 10_000n };
  const shop = await open({ key });
  const limits = { perCall: 250n, total: 1_000n, keyCall: 250n };
  const { fetch, spending } = clientOf(shop, { key: key.text, limits });
  const settled = await Promise.allSettled(Array.from({ length: 20 }, () => fetch(shop.url, post)));
  expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(4);
  expect([key.balance, spending().mcents]).toEqual([9_000n, 1_000n]);
});

test('an answer to a key that never comes is unknown, and found out by the same call', async () => {
  const key = { text: 'mcp_key', balance: 1_000n };
  const shop = await open({ key, faults: Array<Fault>(50).fill('drop-after') });
  const { fetch, spending } = clientOf(shop, { key: key.text, deadlineMs: 600 });
  const error = await fetch(shop.url, post).catch((cause: unknown) => cause);
  if (!(error instanceof PaymentUnknownError)) throw new Error(String(error));
  expect(spending().unknownMcents).toBe(1_000n);
  shop.faults.length = 0;
  const { idempotencyKey } = error.spend;
  expect((await fetch(shop.url, { ...post, idempotencyKey })).status).toBe(200);
  expect(spending()).toMatchObject({ mcents: 250n, unknownMcents: 0n });
  expect(key.balance).toBe(750n);
});

test('stripe: a token is granted for the exact amount and this seller', async () => {
  const shop = await open({ rails: ['stripe'], mcents: 50_000n });
  const granted: unknown[] = [];
  const { fetch } = clientOf(shop, {
    limits: { perCall: 50_000n },
    payers: [
      stripePayer({
        async createSpt({ amountCents, currency, networkId, paymentMethodTypes, expiresAt }) {
          granted.push({ amountCents, currency, networkId, paymentMethodTypes });
          expect(expiresAt.getTime()).toBeGreaterThan(Date.now());
          return 'spt_granted';
        },
      }),
    ],
  });
  const response = await fetch(shop.url, post);
  expect(response.payment).toMatchObject({ rail: 'stripe', mcents: 50_000n, units: 50n, state: 'spent' });
  expect(granted).toEqual([
    { amountCents: 50n, currency: 'usd', networkId: 'profile_1', paymentMethodTypes: ['card'] },
  ]);
  expect([...shop.taken]).toEqual(['stripe:spt_granted']);
});

test('the preferred rail pays, and another one where its limit is broken', async () => {
  const shop = await open({ rails: ['evm', 'stripe', 'lightning'], mcents: 1_000n });
  const stripe = stripePayer({ createSpt: async () => 'spt_one' });
  const evm = evmPayer({ account: createSigner(), tokens: [TOKEN] });
  const wallet = async () => {
    throw new InvoiceNotPaidError('not to be asked');
  };
  const lightning = lightningPayer({ payInvoice: wallet, satLimits: { perCall: 5n } });
  const { fetch } = clientOf(shop, {
    ...{ payers: [lightning, evm, stripe], prefer: ['lightning', 'stripe'] },
    limits: { perCall: 1_000n },
  });
  expect((await fetch(shop.url, post)).payment?.rail).toBe('stripe');
});

test('lightning: the invoice is paid, and its worth at the rate is what the limits see', async () => {
  const shop = await open({ rails: ['lightning'], mcents: 1_000n });
  const paid: string[] = [];
  const payInvoice = async (invoice: string) => {
    paid.push(invoice);
    return [...shop.preimages.values()].at(-1) ?? '';
  };
  const rate = { millicentsPerBitcoin: () => 10_000_000_001n };
  const { fetch, spending } = clientOf(shop, {
    payers: [lightningPayer({ payInvoice, ...rate })],
    limits: { perCall: 1_001n, total: 1_001n },
  });
  const response = await fetch(shop.url, post);
  expect(response.payment).toMatchObject({ rail: 'lightning', units: 10n, unit: 'sat', mcents: 1_001n });
  await expect(fetch(shop.url, post)).rejects.toMatchObject({ limit: 'total' });
  expect([paid.length, shop.taken.size, spending().mcents]).toEqual([1, 1, 1_001n]);
});

test('lightning without a rate has limits in satoshis', async () => {
  const shop = await open({ rails: ['lightning'], mcents: 1_000n });
  const payInvoice = async () => [...shop.preimages.values()].at(-1) ?? '';
  const { fetch, spending } = clientOf(shop, {
    payers: [lightningPayer({ payInvoice, satLimits: { perCall: 10n, total: 15n } })],
  });
  expect((await fetch(shop.url, post)).payment).toMatchObject({ units: 10n, mcents: undefined });
  await expect(fetch(shop.url, post)).rejects.toMatchObject({ limit: 'total', unit: 'sat', available: 5n });
  expect(spending()).toMatchObject({ sats: 10n, mcents: 0n });
});

test('lightning: a wallet that fails may have paid: the shop is asked, the invoice never paid again', async () => {
  const shop = await open({
    rails: ['lightning'],
    mcents: 1_000n,
    faults: ['challenge-free', 'challenge-free'],
  });
  let payments = 0;
  const payInvoice = async () => {
    payments += 1;
    throw new Error('timed out');
  };
  const { fetch, spending } = clientOf(shop, {
    payers: [lightningPayer({ payInvoice, satLimits: { perCall: 10n } })],
  });
  const call = () => fetch(shop.url, { ...post, idempotencyKey: 'order-11' });
  // A fresh challenge does not say that the wallet is not still paying the old invoice.
  await expect(call()).rejects.toBeInstanceOf(PaymentUnknownError);
  await expect(call()).rejects.toBeInstanceOf(PaymentUnknownError);
  expect(spending().sats).toBe(10n);
  expect(shop.shown.map(({ id }) => id.endsWith('?'))).toEqual([true, true]);
  expect(payments).toBe(1);
});

test('lightning: a held payment that was given back is free, and its reason is told', async () => {
  const shop = await open({ rails: ['lightning'], mcents: 1_000n, faults: ['tool-failed'] });
  const payInvoice = async () => {
    throw new Error('the payment was cancelled by the recipient');
  };
  const { fetch, spending } = clientOf(shop, {
    payers: [lightningPayer({ payInvoice, satLimits: { perCall: 10n } })],
  });
  const response = await fetch(shop.url, post);
  expect([response.status, response.payment?.state]).toEqual([502, 'returned']);
  expect(spending().sats).toBe(0n);
});

test('lightning: what was paid and not delivered stays spent, whatever the shop says', async () => {
  const shop = await open({ rails: ['lightning'], mcents: 1_000n, faults: ['tool-failed'] });
  const payInvoice = async () => [...shop.preimages.values()].at(-1) ?? '';
  const { fetch, spending } = clientOf(shop, {
    payers: [lightningPayer({ payInvoice, satLimits: { perCall: 10n } })],
  });
  expect((await fetch(shop.url, post)).status).toBe(502);
  expect(spending().sats).toBe(10n);
});

test('lightning: a wallet that surely did not pay gives the budget back', async () => {
  const shop = await open({ rails: ['lightning'], mcents: 1_000n });
  const payInvoice = async () => {
    throw new InvoiceNotPaidError('no route');
  };
  const { fetch, spending } = clientOf(shop, {
    payers: [lightningPayer({ payInvoice, satLimits: { perCall: 10n } })],
  });
  await expect(fetch(shop.url, post)).rejects.toBeInstanceOf(PaymentFailedError);
  expect([spending().sats, shop.shown.length]).toEqual([0n, 0]);
});

test.each([
  ['without an amount', { issuedAt: new Date() }],
  ['that expired', { sats: 5n, issuedAt: new Date(Date.now() - 3_601_000) }],
])('lightning: an invoice %s is never paid', async (_, terms) => {
  const invoice = makeInvoice({ paymentHash: 'ab'.repeat(32), ...terms });
  const payer = lightningPayer({
    ...{ payInvoice: async () => 'never', satLimits: { perCall: 100n } },
  });
  const header = `Bearer realm="L402 x", L402 version="0", token="AA==", invoice="${invoice}", Payment id="1"`;
  const headers = new Headers({ 'WWW-Authenticate': header });
  expect(await payer.list({ url: 'http://shop.example', headers, now: new Date() })).toEqual([]);
  const good = makeInvoice({ paymentHash: 'ab'.repeat(32), sats: 5n, issuedAt: new Date() });
  headers.set('WWW-Authenticate', header.replace(invoice, good));
  const [way] = await payer.list({ url: 'http://shop.example', headers, now: new Date() });
  expect(way).toMatchObject({ units: 5n, reference: 'ab'.repeat(32) });
});

test('limits that make no sense are refused at once', () => {
  const make = (options: Partial<PayingFetchOptions>) => () =>
    createPayingFetch({ limits: { perCall: 1n }, allowedHosts: [], ...options });
  expect(make({ limits: { perCall: -1n } })).toThrow(RangeError);
  expect(make({ maxPaymentAttempts: 2 as 1 })).toThrow(RangeError);
});
