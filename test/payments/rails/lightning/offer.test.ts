import { afterAll, beforeAll, expect, test } from 'vitest';
import { addMs } from '../../../../src/core/clock.ts';
import { millicents } from '../../../../src/core/money.ts';
import type { Quote } from '../../../../src/payments/quote.ts';
import { hashQuoteId } from '../../../../src/payments/quote-seal.ts';
import type { Rail } from '../../../../src/payments/rail.ts';
import { readInvoice } from '../../../../src/payments/rails/lightning/bolt11.ts';
import { HttpError } from '../../../../src/payments/rails/lightning/http.ts';
import { createMintLimit } from '../../../../src/payments/rails/lightning/mint-limit.ts';
import { anySignal, expectOffer, offerOf, quoteOf } from '../conformance.ts';
import { type LightningLab, RATE_MILLICENTS_PER_BTC, SPREAD_BPS, startLightningLab } from './lab.ts';

let lab: LightningLab;
beforeAll(async () => {
  lab = await startLightningLab();
});
afterAll(() => lab.close());

const ask = (rail: Rail, quote: Quote, address?: string) => rail.offer({ quote, address }, anySignal());

test('a call is offered a hold invoice, whose terms are those of the quote', async () => {
  const rail = await lab.rail();
  const quote = quoteOf({ amount: millicents(250n) });
  const offer = expectOffer(await offerOf(rail, quote), 'bolt11');
  // 250 millicents and a percent are 252.5: three satoshis of 100 each.
  expect(offer).toMatchObject({ sats: 3n, network: 'regtest', isHold: true });
  const read = readInvoice(offer.invoice);
  expect(read).toMatchObject({ msat: 3_000n, network: 'regtest', paymentHash: offer.paymentHash });
  expect(read.expiresAt.getTime()).toBeLessThanOrEqual(Date.now() + 121_000);
  const kept = await lab.invoices.find(offer.paymentHash);
  expect(kept).toMatchObject({
    ...{ state: 'open', msat: 3_000n, price: quote.amount, isHold: true, quoteHash: hashQuoteId(quote) },
    rate: { millicentsPerBtc: RATE_MILLICENTS_PER_BTC, spreadBps: SPREAD_BPS, source: 'fixed' },
    preimage: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
});

test('a purchase, and every call where the node has no hold invoices, is offered a plain invoice', async () => {
  const noHolds = { ...lab.provider, can: { ...lab.provider.can, hold: false } };
  const [rail, plain] = [await lab.rail(), await lab.rail({ provider: noHolds })];
  const purchases = (['signup', 'topup'] as const).map((purpose) => ask(rail, { ...quoteOf(), purpose }));
  const offers = (await Promise.all([...purchases, ask(plain, quoteOf())])).flat();
  expect(offers.map((offer) => expectOffer(offer, 'bolt11').isHold)).toEqual([false, false, false]);
  const [first] = offers;
  const kept = await lab.invoices.find(expectOffer(first, 'bolt11').paymentHash);
  expect(kept).toMatchObject({ isHold: false, preimage: undefined });
});

test('an invoice never outlives its quote', async () => {
  const rail = await lab.rail();
  const quote: Quote = { ...quoteOf(), purpose: 'signup', expiresAt: addMs(new Date(), 30_000) };
  const offer = expectOffer(await offerOf(rail, quote), 'bolt11');
  const kept = await lab.invoices.find(offer.paymentHash);
  expect(kept?.expiresAt.getTime()).toBeLessThanOrEqual(quote.expiresAt.getTime());
  expect(await ask(rail, { ...quoteOf(), expiresAt: addMs(new Date(), 2_000) })).toEqual([]);
});

test('a long or odd description becomes a memo of at most a hundred plain characters', async () => {
  const memos: string[] = [];
  const spying: typeof lab.provider = {
    ...lab.provider,
    createInvoice(input, signal) {
      memos.push(input.memo);
      return lab.provider.createInvoice(input, signal);
    },
  };
  const rail = await lab.rail({ provider: spying });
  const description = `Zählt\nWörter ⚡ ${'x'.repeat(500)}`;
  const resource = { url: 'https://gateway.example/invoke/a', description };
  expect(await ask(rail, { ...quoteOf(), resource })).toHaveLength(1);
  expect(memos).toEqual([expect.stringMatching(/^[\x20-\x7e]{100}$/)]);
});

test('no offer: too small an amount, no rate, a node that nobody has seen healthy', async () => {
  const rail = await lab.rail({ settings: { amountMin: millicents(200n) } });
  expect(await ask(rail, quoteOf({ amount: millicents(199n) }))).toEqual([]);
  expect(await ask(rail, quoteOf({ amount: millicents(200n) }))).toHaveLength(1);
  const noRate = { current: () => undefined, refresh: async () => {}, run: async () => {} };
  expect(await ask(await lab.rail({ rate: noRate }), quoteOf())).toEqual([]);
  expect(await ask(await lab.rail({ isUnchecked: true }), quoteOf())).toEqual([]);
});

test('an invoice that the node refuses takes no other offer away; a node that fails does', async () => {
  const answering = (status: number): typeof lab.provider => ({
    ...lab.provider,
    async createInvoice(input, signal) {
      if (input.amountMsat < 1_000_000n) return lab.provider.createInvoice(input, signal);
      throw new HttpError({ method: 'POST', path: '/api/v1/payments' }, { status, body: 'too much' });
    },
  });
  for (const { status, left } of [
    { status: 400, left: 1 },
    { status: 502, left: 0 },
  ]) {
    const rail = await lab.rail({ provider: answering(status) });
    expect(await ask(rail, quoteOf({ amount: millicents(1_000_000n) }))).toEqual([]);
    expect(await ask(rail, quoteOf())).toHaveLength(left);
  }
});

test('minting is limited by address and in all, and the limits end with the minute', async () => {
  let now = new Date('2026-01-01T00:00:30Z');
  const limit = createMintLimit({ clock: { now: () => now }, perAddress: 2, total: 5 });
  const take = (...addresses: (string | undefined)[]) => addresses.map((address) => limit.take(address));
  expect(take('192.0.2.1', '192.0.2.1', '192.0.2.1')).toEqual([true, true, false]);
  // A household's addresses are one.
  expect(take('2001:db8:0:1::5', '2001:db8:0:1:ffff::9', '2001:db8:0:1::77')).toEqual([true, true, false]);
  expect(take('198.51.100.7', '198.51.100.8', undefined)).toEqual([true, false, false]);
  now = addMs(now, 30_000);
  expect(take(undefined, undefined, undefined, '192.0.2.1')).toEqual([true, true, false, true]);
  const rail = await lab.rail({ settings: { mintsPerAddress: 1 } });
  expect(await ask(rail, quoteOf(), '192.0.2.1')).toHaveLength(1);
  expect(await ask(rail, quoteOf(), '192.0.2.1')).toEqual([]);
  expect(await ask(rail, quoteOf(), '192.0.2.2')).toHaveLength(1);
});

test('however many ask at once, and from wherever, no more invoices are minted in a minute than the limit', async () => {
  let minted = 0;
  const counting: typeof lab.provider = {
    ...lab.provider,
    createInvoice(input, signal) {
      minted += 1;
      return lab.provider.createInvoice(input, signal);
    },
  };
  const now = new Date();
  const rail = await lab.rail({
    provider: counting,
    clock: { now: () => now },
    settings: { mintsPerAddress: 3, mintsTotal: 8 },
  });
  const one = await Promise.all(Array.from({ length: 50 }, () => ask(rail, quoteOf(), '192.0.2.1')));
  expect([minted, one.flat().length]).toEqual([3, 3]);
  const many = await Promise.all(
    Array.from({ length: 500 }, (_, index) =>
      ask(rail, quoteOf(), `198.51.${100 + (index % 2)}.${index >> 1}`),
    ),
  );
  expect([minted, many.flat().length]).toEqual([8, 5]);
});

test('an invoice of another network, hash or amount than asked for is not offered', async () => {
  for (const wrong of [
    { ...lab.provider, network: 'mainnet' as const },
    {
      ...lab.provider,
      createInvoice: ((input, signal) =>
        lab.provider.createInvoice(
          { ...input, amountMsat: input.amountMsat - 1_000n },
          signal,
        )) as typeof lab.provider.createInvoice,
    },
    {
      ...lab.provider,
      createInvoice: (({ hold: _ours, ...input }, signal) =>
        lab.provider.createInvoice(input, signal)) as typeof lab.provider.createInvoice,
    },
  ]) {
    expect(await ask(await lab.rail({ provider: wrong }), quoteOf())).toEqual([]);
  }
});
