import { afterAll, beforeAll, expect, test } from 'vitest';
import { addMs, type Clock } from '../../../../src/core/clock.ts';
import { millicents } from '../../../../src/core/money.ts';
import type { Quote } from '../../../../src/payments/quote.ts';
import type { Bolt11Offer, Rail } from '../../../../src/payments/rail.ts';
import type {
  InvoiceStanding,
  LightningProvider,
} from '../../../../src/payments/rails/lightning/provider.ts';
import { anySignal, authorise, expectOffer, intentOf, offerOf, quoteOf } from '../conformance.ts';
import {
  breakable,
  formOf,
  hashOf,
  type LightningLab,
  pollUntil,
  startLightningLab,
  type Watching,
  watch,
} from './lab.ts';

let lab: LightningLab;
beforeAll(async () => {
  lab = await startLightningLab();
});
afterAll(() => lab.close());

const signupQuote = (): Quote => ({ ...quoteOf(), purpose: 'signup' });
const mint = async (rail: Rail, quote: Quote): Promise<Bolt11Offer> =>
  expectOffer(await offerOf(rail, quote), 'bolt11');
/** The payment as the agent sees it: its preimage, or that it came back. */
const payment = (offer: Bolt11Offer) =>
  lab.pay(offer.invoice).then(
    () => 'taken' as const,
    () => 'given back' as const,
  );
const standing = (offer: Bolt11Offer) => lab.provider.lookup(offer.paymentHash, anySignal());
/** What of this payment was handed over; other tests' payments are of no interest. */
const handedOver = (watching: Watching, offer: Bolt11Offer) =>
  watching.arrivals.filter((arrival) => hashOf(arrival) === offer.paymentHash);
/** A node whose invoices stand as the test says. */
const saying = (said: Partial<InvoiceStanding>): LightningProvider => ({
  ...lab.provider,
  lookup: async (hash, signal) => ({ ...(await lab.provider.lookup(hash, signal)), ...said }),
});

/** A payment that is held, as the gateway has it before its call runs. */
async function hold(provider: LightningProvider = lab.provider) {
  const rail = await lab.rail({ provider });
  const offer = await mint(rail, quoteOf());
  const paid = payment(offer);
  const watching = watch(rail);
  const { authorization, quoteHash } = await watching.of(offer.paymentHash);
  await watching.stop();
  return { rail, offer, paid, authorization, quoteHash, intent: intentOf(authorization) };
}

test('node restart while invoices are held: they are settled and given back as if nothing had been', async () => {
  const [taken, letGo] = [await hold(), await hold()];
  await lab.lightning.killNode();
  expect((await taken.rail.settle(taken.intent, AbortSignal.timeout(1_000))).kind).toBe('unknown');
  await lab.lightning.startNode();
  expect(await taken.rail.settle(taken.intent, anySignal())).toMatchObject({ kind: 'settled' });
  await letGo.rail.cancel(letGo.intent, anySignal());
  expect(await Promise.all([taken.paid, letGo.paid])).toEqual(['taken', 'given back']);
  expect((await letGo.rail.lookup(letGo.intent, anySignal())).kind).toBe('refused');
});

test('preimage known but invoice not settled: it does not pass, and nobody is told to pay again', async () => {
  const rail = await lab.rail();
  const quote = signupQuote();
  const offer = await mint(rail, quote);
  const preimage = await lab.pay(offer.invoice);
  // The preimage is right, and the node says that nothing has arrived.
  const careful = await lab.rail({ provider: saying({ state: 'open', receivedMsat: 0n }) });
  const verification = await careful.verify(formOf(offer, preimage), quote, anySignal());
  expect(verification.kind).toBe('unavailable');
  const cancelled = await lab.rail({ provider: saying({ state: 'cancelled', receivedMsat: 0n }) });
  expect((await cancelled.verify(formOf(offer, preimage), quote, anySignal())).kind).toBe('refused');
  expect((await rail.verify(formOf(offer, preimage), quote, anySignal())).kind).toBe('authorised');
});

test('a payment that the node has not seen yet is waited for', async () => {
  const rail = await lab.rail();
  const quote = signupQuote();
  const offer = await mint(rail, quote);
  const preimage = await lab.pay(offer.invoice);
  let looks = 0;
  const slow: LightningProvider = {
    ...lab.provider,
    lookup: async (hash, signal) => {
      looks += 1;
      if (looks < 3) return { state: 'open', receivedMsat: 0n };
      return lab.provider.lookup(hash, signal);
    },
  };
  const patient = await lab.rail({ provider: slow, timeouts: { confirmMs: 5_000 } });
  expect((await patient.verify(formOf(offer, preimage), quote, anySignal())).kind).toBe('authorised');
});

test('without a preimage nobody is served, and who has paid is not asked for more', async () => {
  const { rail, offer, intent, paid } = await hold();
  const quote = signupQuote();
  const unpaid = await mint(rail, quote);
  expect(await rail.verify(formOf(unpaid), quote, anySignal())).toMatchObject({
    kind: 'refused',
    reason: expect.stringContaining('not paid yet'),
  });
  const held = await lab.invoices.find(offer.paymentHash);
  expect(held).toMatchObject({ state: 'held', isHold: true });
  await rail.cancel(intent, anySignal());
  expect(await paid).toBe('given back');
});

test('paid late: the node takes nothing after the expiry, and the gateway is told so', async () => {
  const rail = await lab.rail();
  const quote: Quote = { ...signupQuote(), expiresAt: addMs(new Date(), 11_000) };
  const offer = await mint(rail, quote);
  await pollUntil(async () => (await standing(offer)).state === 'expired', 20_000);
  expect(await payment(offer)).toBe('given back');
  expect((await rail.verify(formOf(offer), quote, anySignal())).kind).toBe('refused');
  const watching = watch(rail);
  await pollUntil(async () => (await lab.invoices.find(offer.paymentHash))?.state === 'expired');
  await watching.stop();
  expect(handedOver(watching, offer)).toEqual([]);
}, 40_000);

test('a payment that a node took after the expiry is handed over all the same', async () => {
  const rail = await lab.rail();
  const offer = await mint(rail, signupQuote());
  await lab.pay(offer.invoice);
  await lab.invoices.note(offer.paymentHash, { state: 'expired', receivedMsat: 0n });
  const watching = watch(rail);
  const arrival = await watching.of(offer.paymentHash);
  await watching.stop();
  expect(arrival.authorization).toMatchObject({ state: 'paid', units: offer.sats * 1_000n });
});

test('underpaid: refused when shown, never handed over, and never settled', async () => {
  const rail = await lab.rail();
  const quote = signupQuote();
  const offer = await mint(rail, quote);
  const preimage = await lab.pay(offer.invoice);
  const form = formOf(offer, preimage);
  const intent = intentOf(await authorise(rail, form, quote));
  const short = await lab.rail({ provider: saying({ receivedMsat: offer.sats * 1_000n - 1n }) });
  expect((await short.verify(form, quote, anySignal())).kind).toBe('refused');
  // Something has arrived: an operator looks at it.
  expect((await short.settle(intent, anySignal())).kind).toBe('unknown');
});

test('underpaid: a held payment that is too small is given back', async () => {
  const minted = await mint(await lab.rail(), quoteOf());
  const paid = payment(minted);
  await pollUntil(async () => (await standing(minted)).state === 'held');
  const real = lab.provider;
  const short: LightningProvider = {
    ...real,
    lookup: async (hash, signal) => {
      const found = await real.lookup(hash, signal);
      return found.state === 'held' ? { ...found, receivedMsat: found.receivedMsat - 1n } : found;
    },
  };
  const watching = watch(await lab.rail({ provider: short }));
  expect(await paid).toBe('given back');
  await watching.stop();
  expect(handedOver(watching, minted)).toEqual([]);
});

test('a held payment with little time left is given back, not begun with', async () => {
  const minted = await mint(await lab.rail(), quoteOf());
  const paid = payment(minted);
  await pollUntil(async () => (await standing(minted)).state === 'held');
  const real = lab.provider;
  const hasty: LightningProvider = {
    ...real,
    lookup: async (hash, signal) => ({
      ...(await real.lookup(hash, signal)),
      holdDeadline: addMs(new Date(), 60_000),
    }),
  };
  const watching = watch(await lab.rail({ provider: hasty }));
  expect(await paid).toBe('given back');
  await watching.stop();
  expect(handedOver(watching, minted)).toEqual([]);
});

test('overpaid: what arrived is reported beside what was asked, and valued by what was asked', async () => {
  const rail = await lab.rail();
  const quote = signupQuote();
  const offer = await mint(rail, quote);
  const form = formOf(offer, await lab.pay(offer.invoice));
  const generous = await lab.rail({ provider: saying({ receivedMsat: offer.sats * 1_500n }) });
  const authorization = await authorise(generous, form, quote);
  expect(authorization.units).toBe(offer.sats * 1_000n);
  const settled = await generous.settle(intentOf(authorization), anySignal());
  expect(settled).toMatchObject({ kind: 'settled', units: offer.sats * 1_500n, worth: offer.sats * 100n });
});

test('node down before: no offer, a credential is unavailable, a settlement unknown', async () => {
  const { provider, faults } = breakable(lab.provider);
  const rail = await lab.rail({ provider });
  const quote = signupQuote();
  const offer = await mint(rail, quote);
  const form = formOf(offer, await lab.pay(offer.invoice));
  const intent = intentOf(await authorise(rail, form, quote));
  for (const name of ['createInvoice', 'lookup', 'settle', 'health', 'balance'] as const)
    faults.before.add(name);
  expect(await rail.offer({ quote: signupQuote(), address: undefined }, anySignal())).toEqual([]);
  expect((await rail.verify(form, quote, anySignal())).kind).toBe('unavailable');
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
  await expect(rail.cancel({ ...intent }, anySignal())).resolves.toBeUndefined();
  await expect(rail.balances(anySignal())).rejects.toThrow();
  faults.before.clear();
  expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
});

test('an invoice whose minting was answered too late is not offered, and the next challenge goes without', async () => {
  const { provider, faults } = breakable(lab.provider);
  const rail = await lab.rail({ provider });
  faults.after.add('createInvoice');
  expect(await rail.offer({ quote: quoteOf(), address: undefined }, anySignal())).toEqual([]);
  faults.after.clear();
  // Until the health has been looked at again.
  expect(await rail.offer({ quote: quoteOf(), address: undefined }, anySignal())).toEqual([]);
});

test('response lost after settle: the money is counted once', async () => {
  const { provider, faults } = breakable(lab.provider);
  const before = await lab.received();
  const { rail, offer, intent, paid } = await hold(provider);
  faults.after.add('settle');
  expect(await rail.settle(intent, anySignal())).toMatchObject({
    kind: 'settled',
    reference: offer.paymentHash,
  });
  expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'settled', units: intent.units });
  expect(await paid).toBe('taken');
  expect(await lab.received()).toBe(before + intent.units);
});

test('settle failed before it took effect: unknown, nothing moved, and the next one takes it', async () => {
  const { provider, faults } = breakable(lab.provider);
  const before = await lab.received();
  const { rail, intent, paid } = await hold(provider);
  faults.before.add('settle');
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  expect(await lab.received()).toBe(before);
  faults.before.clear();
  expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
  expect(await paid).toBe('taken');
});

test('cancel lost: it throws until it is known, is safe to repeat, and the payer has everything back', async () => {
  const { provider, faults } = breakable(lab.provider);
  const { rail, intent, paid } = await hold(provider);
  faults.before.add('cancel');
  await expect(rail.cancel(intent, anySignal())).rejects.toThrow();
  faults.before.clear();
  faults.after.add('cancel');
  await expect(rail.cancel(intent, anySignal())).rejects.toThrow();
  expect(await paid).toBe('given back');
  await rail.cancel(intent, anySignal());
  expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
  expect((await rail.lookup(intent, anySignal())).kind).toBe('refused');
});

test('a settled payment is not given back, whoever cancels it', async () => {
  const before = await lab.received();
  const { rail, intent, paid } = await hold();
  await rail.settle(intent, anySignal());
  await rail.cancel(intent, anySignal());
  expect(await paid).toBe('taken');
  expect(await lab.received()).toBe(before + intent.units);
});

test('replay from two gateways: both hand the same arrival over, and every settle is the same settlement', async () => {
  const [one, two] = [await lab.rail(), await lab.rail()];
  const offer = await mint(one, quoteOf());
  const watchings = [watch(one), watch(two)];
  const paid = payment(offer);
  const [first, second] = await Promise.all(watchings.map((watching) => watching.of(offer.paymentHash)));
  await Promise.all(watchings.map((watching) => watching.stop()));
  expect(first?.authorization.claimKey).toBe(second?.authorization.claimKey);
  expect(first?.quoteHash).toEqual(second?.quoteHash);
  if (!first || !second) throw new Error('no arrival');
  const before = await lab.received();
  const settlements = await Promise.all(
    [one, two, one].map((rail) => rail.settle(intentOf(first.authorization), anySignal())),
  );
  expect(new Set(settlements.map(({ kind }) => kind))).toEqual(new Set(['settled']));
  expect(await paid).toBe('taken');
  expect(await lab.received()).toBe(before + first.authorization.units);
});

test('what could not be handed over is handed over again, also after a restart, until it is settled', async () => {
  const rail = await lab.rail();
  const offer = await mint(rail, quoteOf());
  const paid = payment(offer);
  let failures = 0;
  const failing = watch(rail, async () => {
    failures += 1;
    throw new Error('the database is away');
  });
  await pollUntil(async () => failures >= 2);
  await failing.stop();
  const restarted = await lab.rail();
  const watching = watch(restarted);
  const { authorization } = await watching.of(offer.paymentHash);
  await restarted.settle(intentOf(authorization), anySignal());
  await watching.stop();
  expect(await paid).toBe('taken');
  const after = watch(await lab.rail());
  const other = await mint(rail, signupQuote());
  await lab.pay(other.invoice);
  await after.of(other.paymentHash);
  await after.stop();
  expect(handedOver(after, offer)).toEqual([]);
});

test('a plain payment made while nobody watched is handed over at the next start', async () => {
  const rail = await lab.rail();
  const quote = signupQuote();
  const offer = await mint(rail, quote);
  await lab.pay(offer.invoice);
  const watching = watch(await lab.rail());
  const { authorization } = await watching.of(offer.paymentHash);
  await watching.stop();
  expect(authorization).toMatchObject({ state: 'paid', mustSettleFirst: true, amount: quote.amount });
});

test('beyond the limit of held payments a further one is given back', async () => {
  const { rail, intent, paid } = await hold();
  const full = await lab.rail({ settings: { heldMax: 1 } });
  const watching = watch(full);
  const offer = await mint(full, quoteOf());
  expect(await payment(offer)).toBe('given back');
  await watching.stop();
  await rail.settle(intent, anySignal());
  expect(await paid).toBe('taken');
});

test('an invoice is for its own quote at its own price', async () => {
  const rail = await lab.rail();
  const quote = signupQuote();
  const offer = await mint(rail, quote);
  const form = formOf(offer, await lab.pay(offer.invoice));
  expect((await rail.verify(form, signupQuote(), anySignal())).kind).toBe('refused');
  const dearer = { ...quote, amount: millicents(quote.amount + 1n) };
  expect((await rail.verify(form, dearer, anySignal())).kind).toBe('refused');
  expect((await rail.verify(form, quote, anySignal())).kind).toBe('authorised');
});

test('an expired rail clock does not refuse what the node confirms', async () => {
  const later: Clock = { now: () => addMs(new Date(), 3_600_000) };
  const rail = await lab.rail();
  const quote = signupQuote();
  const offer = await mint(rail, quote);
  const form = formOf(offer, await lab.pay(offer.invoice));
  const late = await lab.rail({ clock: later });
  expect((await late.verify(form, quote, anySignal())).kind).toBe('authorised');
});
