import { afterEach, beforeEach, expect, test } from 'vitest';
import { millicents } from '../../../../src/core/money.ts';
import { anySignal, quoteOf } from '../conformance.ts';
import { hold, PRICE, type StripeLab, startStripeLab, toForm } from './lab.ts';

const HOUR_MS = 3_600_000;
let lab: StripeLab;
beforeEach(async () => {
  lab = await startStripeLab();
});
afterEach(() => lab.close());

test('what was held is captured after Stripe forgot the key it was made with, and nothing is made anew', async () => {
  const { rail, intent } = await lab.prepare();
  await hold(rail, intent);
  lab.clock.advance(30 * HOUR_MS);
  expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
  expect(lab.stripe.payments().map(({ status }) => status)).toEqual(['succeeded']);
});

test('what was cancelled is not made anew when Stripe has forgotten its key', async () => {
  const { rail, intent } = await lab.prepare('pm_card_visa', 48 * HOUR_MS);
  await hold(rail, intent);
  await rail.cancel(intent, anySignal());
  lab.clock.advance(30 * HOUR_MS);
  expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
  expect((await hold(rail, intent)).kind).toBe('refused');
  expect(lab.stripe.payments().map(({ status }) => status)).toEqual(['canceled']);
});

test('what was never made is not made a day later: unknown at first, then refused', async () => {
  // Its token would still pay.
  const { rail, intent } = await lab.prepare('pm_card_visa', 48 * HOUR_MS);
  lab.clock.advance(21 * HOUR_MS);
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
  lab.clock.advance(4 * HOUR_MS);
  expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
  expect((await rail.lookup(intent, anySignal())).kind).toBe('refused');
  expect(lab.stripe.payments()).toEqual([]);
});

test('an authorisation that Stripe let go is refused', async () => {
  const { rail, intent } = await lab.prepare();
  await hold(rail, intent);
  lab.clock.advance(8 * 24 * HOUR_MS);
  expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
  expect(await lab.received()).toBe(0n);
});

test('a hold is trusted for less time than any card keeps it', async () => {
  const { intent } = await lab.prepare();
  const days = (intent.validUntil.getTime() - lab.clock.now().getTime()) / (24 * HOUR_MS);
  expect(days).toBeGreaterThan(4);
  expect(days).toBeLessThan(4.75);
});

test('a capture whose error Stripe keeps for its key is tried with another key an hour later', async () => {
  // Not over the turn of an hour.
  lab.clock.advance(HOUR_MS - (Date.now() % HOUR_MS));
  const { rail, intent } = await lab.prepare();
  await hold(rail, intent);
  lab.stripe.faults.add({ operation: 'payment.capture', when: 'kept', times: 1 });
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  lab.clock.advance(HOUR_MS);
  expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
});

test('a creation whose error Stripe keeps for its key stays unknown for a day, and is then refused', async () => {
  const { rail, intent } = await lab.prepare();
  lab.stripe.faults.add({ operation: 'payment.create', when: 'kept', times: 1 });
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  lab.clock.advance(19 * HOUR_MS);
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  lab.clock.advance(6 * HOUR_MS);
  expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
  expect(lab.stripe.payments()).toEqual([]);
});

test('a spent token is known as spent while search does not know of it yet', async () => {
  const { rail, form, intent } = await lab.prepare();
  await rail.settle(intent, anySignal());
  lab.stripe.faults.searchLag(HOUR_MS);
  const verification = await lab.rail().verify(form, quoteOf({ amount: millicents(PRICE) }), anySignal());
  expect(verification.kind).toBe('spent');
});

test('a look finds what was made while search does not know of it yet', async () => {
  const { rail, intent } = await lab.prepare();
  const settled = await rail.settle(intent, anySignal());
  lab.stripe.faults.searchLag(HOUR_MS);
  expect(await lab.rail().lookup(intent, anySignal())).toEqual(settled);
});

test('a token that expired before it was used is refused at the look and at the hold', async () => {
  const { rail, form, intent } = await lab.prepare();
  lab.clock.advance(10 * 60_000);
  const verification = await rail.verify(form, quoteOf({ amount: millicents(PRICE) }), anySignal());
  expect(verification.kind).toBe('refused');
  expect((await hold(rail, intent)).kind).toBe('refused');
});

test('a token in another currency is refused', async () => {
  const form = toForm(lab.stripe.grantToken({ maxAmount: 500, currency: 'eur' }));
  const verification = await lab.rail().verify(form, quoteOf({ amount: millicents(PRICE) }), anySignal());
  expect(verification.kind).toBe('refused');
});
