import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { millicents } from '../../../../src/core/money.ts';
import { anySignal, offerOf, quoteOf } from '../conformance.ts';
import { hold, PRICE, type StripeLab, startStripeLab, toForm } from './lab.ts';

let lab: StripeLab;
beforeAll(async () => {
  lab = await startStripeLab();
});
afterEach(() => lab.stripe.faults.clear());
afterAll(() => lab.close());

const quote = () => quoteOf({ amount: millicents(PRICE) });
const paymentsOf = (claimKey: string) =>
  lab.stripe.payments().filter(({ metadata }) => metadata.millicent_claim === claimKey);
const statusesOf = (claimKey: string) => paymentsOf(claimKey).map(({ status }) => status);

describe('declined', () => {
  test.each([
    ['pm_card_chargeDeclined', 'The card was declined.'],
    ['pm_card_chargeDeclinedInsufficientFunds', 'The card has insufficient funds.'],
    ['pm_card_chargeDeclinedExpiredCard', 'The card has expired.'],
  ])('a declined card (%s) holds nothing and says why in public words', async (method, reason) => {
    const { rail, intent } = await lab.prepare(method);
    const before = await lab.received();
    expect(await hold(rail, intent)).toEqual({ kind: 'refused', reason });
    expect(await rail.settle(intent, anySignal())).toEqual({ kind: 'refused', reason });
    await rail.cancel(intent, anySignal());
    expect(await lab.received()).toBe(before);
  });

  test('a card that needs its owner is refused, and its payment is cancelled', async () => {
    const { rail, intent } = await lab.prepare('pm_card_threeDSecure2Required');
    expect(await hold(rail, intent)).toMatchObject({ kind: 'refused' });
    expect(statusesOf(intent.claimKey)).toEqual(['canceled']);
  });

  test('a token used up by another payment between the look and the hold is refused', async () => {
    const { rail, intent, form } = await lab.prepare();
    const other = await lab.rail().verify(form, quote(), anySignal());
    if (other.kind !== 'authorised') throw new Error(other.kind);
    const stolen = { ...intent, claimKey: `${intent.claimKey}x` };
    await rail.settle(stolen, anySignal());
    expect((await hold(rail, intent)).kind).toBe('refused');
  });
});

describe('lost response', () => {
  test.each(['before', 'after'] as const)(
    'creation, %s it took effect: unknown, then held, and there is one payment',
    async (when) => {
      const { rail, intent } = await lab.prepare();
      lab.stripe.faults.add({ operation: 'payment.create', when });
      expect((await hold(rail, intent)).kind).toBe('unknown');
      lab.stripe.faults.clear();
      expect(await hold(lab.rail(), intent)).toEqual({ kind: 'held' });
      expect(statusesOf(intent.claimKey)).toEqual(['requires_capture']);
    },
  );

  test.each(['before', 'after'] as const)(
    'one creation, %s it took effect: the same request is sent again and holds once',
    async (when) => {
      const { rail, intent } = await lab.prepare();
      lab.stripe.faults.add({ operation: 'payment.create', when, times: 2 });
      expect(await hold(rail, intent)).toEqual({ kind: 'held' });
      expect(statusesOf(intent.claimKey)).toEqual(['requires_capture']);
    },
  );

  test.each([500, 503, 429])(
    'an error %i after the creation took effect is unknown, never refused',
    async (status) => {
      const { rail, intent } = await lab.prepare();
      lab.stripe.faults.add({ operation: 'payment.create', when: 'after', status });
      expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
      lab.stripe.faults.clear();
      const before = await lab.received();
      expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
      expect(await lab.received()).toBe(before + intent.units);
    },
  );

  test('capture, before it took effect: unknown, and the next settle captures once', async () => {
    const { rail, intent } = await lab.prepare();
    await hold(rail, intent);
    const before = await lab.received();
    lab.stripe.faults.add({ operation: 'payment.capture', when: 'before' });
    expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
    expect(await lab.received()).toBe(before);
    lab.stripe.faults.clear();
    expect(await lab.rail().settle(intent, anySignal())).toMatchObject({
      kind: 'settled',
      units: intent.units,
    });
    expect(await lab.received()).toBe(before + intent.units);
  });

  test('capture, after it took effect: its state is asked for, and the money is found', async () => {
    const { rail, intent } = await lab.prepare();
    await hold(rail, intent);
    const before = await lab.received();
    lab.stripe.faults.add({ operation: 'payment.capture', when: 'after' });
    expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'settled', units: intent.units });
    expect(await lab.received()).toBe(before + intent.units);
  });

  test('capture, after it took effect and then nothing answers: unknown, and later found captured once', async () => {
    const { rail, intent } = await lab.prepare();
    await hold(rail, intent);
    const before = await lab.received();
    lab.stripe.faults.add({ operation: 'payment.capture', when: 'after' });
    lab.stripe.faults.add({ operation: 'payment.retrieve', when: 'before' });
    expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
    lab.stripe.faults.clear();
    const settled = await lab.rail().settle(intent, anySignal());
    expect(settled).toMatchObject({ kind: 'settled', units: intent.units });
    expect(await lab.rail().lookup(intent, anySignal())).toEqual(settled);
    expect(await lab.received()).toBe(before + intent.units);
  });

  test('cancel, before it took effect: throws, and the next one cancels', async () => {
    const { rail, intent } = await lab.prepare();
    await hold(rail, intent);
    lab.stripe.faults.add({ operation: 'payment.cancel', when: 'before' });
    await expect(rail.cancel(intent, anySignal())).rejects.toThrow();
    lab.stripe.faults.clear();
    await rail.cancel(intent, anySignal());
    expect(statusesOf(intent.claimKey)).toEqual(['canceled']);
  });

  test('cancel, after it took effect: done, and again is done too', async () => {
    const { rail, intent } = await lab.prepare();
    await hold(rail, intent);
    lab.stripe.faults.add({ operation: 'payment.cancel', when: 'after' });
    await rail.cancel(intent, anySignal());
    lab.stripe.faults.clear();
    await rail.cancel(intent, anySignal());
    expect(statusesOf(intent.claimKey)).toEqual(['canceled']);
  });

  test.each(['before', 'after'] as const)(
    'creation lost %s it took effect and then cancelled: nothing stays held',
    async (when) => {
      const { rail, intent } = await lab.prepare();
      lab.stripe.faults.add({ operation: 'payment.create', when });
      expect((await hold(rail, intent)).kind).toBe('unknown');
      lab.stripe.faults.clear();
      await lab.rail().cancel(intent, anySignal());
      expect(statusesOf(intent.claimKey)).toEqual(['canceled']);
      expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
    },
  );

  test('an answer slower than we wait is unknown, and later found', async () => {
    const { rail, intent } = await lab.prepare();
    lab.stripe.faults.delay('payment.create', 400);
    expect((await rail.settle(intent, AbortSignal.timeout(100))).kind).toBe('unknown');
    lab.stripe.faults.clear();
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect(statusesOf(intent.claimKey)).toEqual(['succeeded']);
  });
});

describe('races', () => {
  test('20 holds at once of one token, over two gateways, make one payment', async () => {
    const { rail, intent } = await lab.prepare();
    const other = lab.rail();
    lab.stripe.faults.delay('payment.create', 150);
    const holdings = await Promise.all(
      Array.from({ length: 20 }, (_, index) => hold(index % 2 ? rail : other, intent)),
    );
    expect(holdings).toEqual(Array(20).fill({ kind: 'held' }));
    expect(statusesOf(intent.claimKey)).toEqual(['requires_capture']);
  });

  test('capture twice moves once, also while the first capture is under way', async () => {
    const { rail, intent } = await lab.prepare();
    const before = await lab.received();
    await hold(rail, intent);
    lab.stripe.faults.delay('payment.capture', 100);
    const settlements = await Promise.all(
      [rail, lab.rail(), rail, lab.rail()].map((each) => each.settle(intent, anySignal())),
    );
    expect(settlements.map(({ kind }) => kind)).toEqual(Array(4).fill('settled'));
    expect(await lab.received()).toBe(before + intent.units);
  });

  test('settle and cancel at once: either the money is here or nothing is held, and both say so', async () => {
    for (let round = 0; round < 10; round++) {
      const { rail, intent } = await lab.prepare();
      await hold(rail, intent);
      const before = await lab.received();
      const [settlement] = await Promise.all([
        rail.settle(intent, anySignal()),
        lab.rail().cancel(intent, anySignal()),
      ]);
      const moved = (await lab.received()) - before;
      expect(settlement.kind).toBe(moved === 0n ? 'refused' : 'settled');
      expect((await rail.lookup(intent, anySignal())).kind).toBe(settlement.kind);
    }
  });
});

describe('down', () => {
  test('a rail that does not answer makes no offer, and offers again when it does', async () => {
    const { form } = await lab.prepare();
    const rail = lab.rail();
    const input = { quote: quote(), address: undefined };
    expect(await rail.offer(input, anySignal())).toHaveLength(1);
    lab.stripe.faults.add({ operation: 'token.retrieve', when: 'before' });
    expect((await rail.verify(form, quote(), anySignal())).kind).toBe('unavailable');
    expect(await rail.offer(input, anySignal())).toEqual([]);
    lab.stripe.faults.clear();
    expect((await rail.verify(form, quote(), anySignal())).kind).toBe('authorised');
    expect(await rail.offer(input, anySignal())).toHaveLength(1);
  });

  test('a wrong key of ours is never told a payer as a refusal', async () => {
    const { form, intent } = await lab.prepare();
    const rail = lab.rail({ secretKey: 'sk_test_wrong' });
    expect((await rail.verify(form, quote(), anySignal())).kind).toBe('unavailable');
    expect((await hold(rail, intent)).kind).toBe('unknown');
    expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
    expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
    await expect(rail.balances(anySignal())).rejects.toThrow();
    expect(await rail.offer({ quote: quote(), address: undefined }, anySignal())).toEqual([]);
  });
});

describe('amounts', () => {
  test('below Stripe’s least, beyond its most, and without a profile there is no offer', async () => {
    const offersOf = (amount: bigint, rail = lab.rail()) =>
      rail.offer({ quote: quoteOf({ amount: millicents(amount) }), address: undefined }, anySignal());
    expect(await offersOf(49_999n)).toEqual([]);
    expect(await offersOf(50_000n)).toMatchObject([
      { kind: 'spt', units: 50n, networkId: lab.stripe.networkId },
    ]);
    expect(await offersOf(99_999_999_000n)).toHaveLength(1);
    expect(await offersOf(99_999_999_001n)).toEqual([]);
    expect(await offersOf(50_000n, lab.rail({ networkId: undefined }))).toEqual([]);
  });

  test('a price between two cents is charged the next cent, and the difference is told', async () => {
    const rail = lab.rail();
    const odd = quoteOf({ amount: millicents(50_250n) });
    const offer = await offerOf(rail, odd);
    expect(offer).toMatchObject({ units: 51n });
    const verification = await rail.verify(
      toForm(lab.stripe.grantToken({ maxAmount: 51 })),
      odd,
      anySignal(),
    );
    if (verification.kind !== 'authorised') throw new Error(verification.kind);
    expect(verification.authorization).toMatchObject({ units: 51n, amount: 50_250n });
    const settlement = await rail.settle(verification.authorization, anySignal());
    expect(settlement).toMatchObject({ kind: 'settled', units: 51n, worth: 51_000n });
  });

  test('a payment of another sum under our claim is left for a person to look at', async () => {
    const { rail, intent } = await lab.prepare();
    await hold(rail, intent);
    const before = await lab.received();
    const cheaper = { ...intent, units: intent.units - 1n };
    expect((await rail.settle(cheaper, anySignal())).kind).toBe('unknown');
    expect(await lab.received()).toBe(before);
  });

  test('what the rail reported is what the Stripe server holds, to the cent', async () => {
    const storm = await startStripeLab();
    try {
      const methods = ['pm_card_visa', 'pm_card_chargeDeclined', 'pm_card_mastercard'];
      let [units, fees] = [0n, 0n];
      for (let index = 0; index < 30; index++) {
        const { rail, intent } = await storm.prepare(methods[index % 3]);
        storm.stripe.faults.clear();
        if (index % 4 === 0)
          storm.stripe.faults.add({ operation: 'payment.capture', when: 'after', times: 2 });
        if (index % 5 === 0)
          storm.stripe.faults.add({ operation: 'payment.create', when: 'after', times: 1 });
        if (index % 2 === 0) await hold(rail, intent);
        if (index % 7 === 0) await rail.cancel(intent, anySignal());
        const settlement = await rail.settle(intent, anySignal());
        if (settlement.kind !== 'settled') continue;
        units += settlement.units;
        fees += settlement.costs.reduce((sum, cost) => sum + cost.units, 0n);
      }
      storm.stripe.faults.clear();
      const sums = storm.stripe.sums();
      expect(units).toBeGreaterThan(0n);
      expect({ units, fees }).toEqual({ units: BigInt(sums.gross), fees: BigInt(sums.fees) });
      expect(await storm.rail().balances(anySignal())).toEqual([
        { account: 'A.stripe:usd-cent', unit: 'usd-cent', units: units - fees },
      ]);
    } finally {
      await storm.close();
    }
  });
});
