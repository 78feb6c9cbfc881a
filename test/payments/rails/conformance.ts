import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { millicents } from '../../../src/core/money.ts';
import type { Form } from '../../../src/payments/form.ts';
import type { Quote } from '../../../src/payments/quote.ts';
import type { Authorization, Offer, Rail, SettlementIntent } from '../../../src/payments/rail.ts';

/** What is wrong with a credential that a rail must refuse. */
export type Fault = 'pays-less' | 'pays-more' | 'pays-another' | 'expires-too-soon' | 'forged';

/** A rail with everything outside of it, as the suite drives it. */
export type RailHarness = {
  /** A new rail object over the same database and the same outside: what a restarted gateway has. */
  createRail(): Rail;
  /** What an honest payer makes of an offer; with a fault, what another one makes of it. */
  pay(offer: Offer, fault?: Fault): Promise<Form>;
  /** Rails on which a held payment comes by itself: what the rail's `watch` handed over for this form. */
  arrival?(form: Form): Promise<Authorization>;
  /** What a payer can show once its payment was taken, where it could not before. */
  showAgain?(form: Form): Promise<Form>;
  /** Native units that have arrived for us so far. */
  received(): Promise<bigint>;
  close(): Promise<void>;
};

export type QuoteTerms = Partial<Pick<Quote, 'amount' | 'runTimeoutMs'>>;

export const anySignal = (): AbortSignal => AbortSignal.timeout(30_000);

/** A quote as the gateway makes it; 250 millicents for one call. */
export function quoteOf(terms: QuoteTerms = {}): Quote {
  return {
    id: randomBytes(16).toString('base64url'),
    purpose: 'call',
    amount: millicents(250n),
    requestDigest: randomBytes(32).toString('hex'),
    resource: { url: 'https://gateway.example/invoke/text-stats', description: 'Counts words.' },
    expiresAt: new Date(Date.now() + 300_000),
    runTimeoutMs: 5_000,
    ...terms,
  };
}

/** The one offer of a rail that has one. */
export async function offerOf(rail: Rail, quote: Quote): Promise<Offer> {
  const [offer] = await rail.offer({ quote, address: undefined }, anySignal());
  if (offer === undefined) throw new Error('the rail makes no offer');
  return offer;
}

/** The offer, which the test knows to be of this kind. */
export function expectOffer<K extends Offer['kind']>(
  offer: Offer | undefined,
  kind: K,
): Extract<Offer, { kind: K }> {
  if (offer?.kind !== kind) throw new Error(`an offer of kind ${offer?.kind}, not ${kind}`);
  return offer as Extract<Offer, { kind: K }>;
}

/** Verifies, and insists that the rail authorises. */
export async function authorise(rail: Rail, form: Form, quote: Quote): Promise<Authorization> {
  const verification = await rail.verify(form, quote, anySignal());
  if (verification.kind !== 'authorised') throw new Error(`not authorised: ${JSON.stringify(verification)}`);
  return verification.authorization;
}

/** What the gateway stores of an authorization before it settles. */
export function intentOf(authorization: Authorization): SettlementIntent {
  const { claimKey, payer, unit, units, form, validUntil } = authorization;
  return { claimKey, payer, unit, units, form, validUntil };
}

/** Where a rail differs from one that moves any amount at once. */
export type RailTerms = {
  /** What is asked for, and something cheaper: a rail has a least amount. */
  price?: bigint;
  cheaperPrice?: bigint;
  /** What may be wrong with a credential; a rail that charges the price itself minds no larger allowance. */
  faults?: readonly Fault[];
  /** The rail sets money aside before the run. */
  isHolding?: boolean;
  /** The payer has paid before it shows that: a settlement moves nothing more. */
  isPaidWhenShown?: boolean;
};

const FAULTS: readonly Fault[] = ['pays-less', 'pays-more', 'pays-another', 'expires-too-soon', 'forged'];

/** What every rail promises. */
export function describeRail(
  name: string,
  start: () => Promise<RailHarness>,
  {
    price = 250n,
    cheaperPrice = 100n,
    faults = FAULTS,
    isHolding = false,
    isPaidWhenShown = false,
  }: RailTerms = {},
): void {
  const quoteFor = (amount: bigint) => quoteOf({ amount: millicents(amount) });
  describe(`${name}: what every rail promises`, () => {
    let harness: RailHarness;
    beforeAll(async () => {
      harness = await start();
    });
    afterAll(() => harness.close());

    /** What a settlement of this intent moves. */
    const movedBy = (intent: { units: bigint }) => (isPaidWhenShown ? 0n : intent.units);

    /** An honest payment, authorised and ready to settle. */
    async function prepare() {
      const rail = harness.createRail();
      const quote = quoteFor(price);
      const form = await harness.pay(await offerOf(rail, quote));
      const authorization = harness.arrival
        ? await harness.arrival(form)
        : await authorise(rail, form, quote);
      return { rail, quote, form, authorization, intent: intentOf(authorization) };
    }

    test('an honest credential is authorised for the whole price, and nothing moves', async () => {
      const before = await harness.received();
      const { rail, quote, form, authorization } = await prepare();
      const paidByItself = authorization.units - movedBy(authorization);
      expect(authorization.amount).toBe(quote.amount);
      expect(rail.identify(form)).toEqual({
        claimKey: authorization.claimKey,
        payer: authorization.payer,
      });
      expect(authorization.validUntil.getTime()).toBeGreaterThan(Date.now() + quote.runTimeoutMs);
      expect(authorization.state === 'paid').toBe(isPaidWhenShown);
      expect(await harness.received()).toBe(before + paidByItself);
    });

    test.each<Fault>(faults)('a credential that is faulty (%s) is refused with a reason', async (fault) => {
      const rail = harness.createRail();
      const quote = quoteFor(price);
      const form = await harness.pay(await offerOf(rail, quote), fault);
      const verification = await rail.verify(form, quote, anySignal());
      expect(verification).toEqual({ kind: 'refused', reason: expect.stringMatching(/^[A-Z].+\.$/) });
    });

    test('a credential made for a cheaper quote does not pay a dearer one', async () => {
      const rail = harness.createRail();
      const form = await harness.pay(await offerOf(rail, quoteFor(cheaperPrice)));
      const verification = await rail.verify(form, quoteFor(price), anySignal());
      expect(verification.kind).toBe('refused');
    });

    test('settling moves exactly the units promised, and tells what it cost', async () => {
      const { rail, intent } = await prepare();
      const before = await harness.received();
      const settlement = await rail.settle(intent, anySignal());
      expect(settlement).toMatchObject({ kind: 'settled', units: intent.units });
      expect(await harness.received()).toBe(before + movedBy(intent));
    });

    test('settling twice moves once and answers the same', async () => {
      const { rail, intent } = await prepare();
      const before = await harness.received();
      const first = await rail.settle(intent, anySignal());
      expect(await rail.settle(intent, anySignal())).toEqual(first);
      expect(await harness.received()).toBe(before + movedBy(intent));
    });

    test('five settles of one intent at once, from two gateways, move once', async () => {
      const { rail, intent } = await prepare();
      const other = harness.createRail();
      const before = await harness.received();
      const settlements = await Promise.all(
        [rail, other, rail, other, rail].map((each) => each.settle(intent, anySignal())),
      );
      expect(settlements.map((settlement) => settlement.kind)).toEqual(Array(5).fill('settled'));
      expect(new Set(settlements.map((settlement) => JSON.stringify(settlement, bigints))).size).toBe(1);
      expect(await harness.received()).toBe(before + movedBy(intent));
    });

    test('a restarted gateway that settles again moves nothing more', async () => {
      const { rail, intent } = await prepare();
      const before = await harness.received();
      const first = await rail.settle(intent, anySignal());
      expect(await harness.createRail().settle(intent, anySignal())).toEqual(first);
      expect(await harness.received()).toBe(before + movedBy(intent));
    });

    test('a credential shown again after it was settled is spent, never authorised', async () => {
      const { rail, quote, form, intent } = await prepare();
      const settled = await rail.settle(intent, anySignal());
      const shown = harness.showAgain ? await harness.showAgain(form) : form;
      const verification = await harness.createRail().verify(shown, quote, anySignal());
      if (isPaidWhenShown || harness.showAgain) {
        // It is no more spent than when it was shown first: the claim it has is what stops it.
        expect(verification).toMatchObject({
          kind: 'authorised',
          authorization: { claimKey: intent.claimKey, state: 'paid' },
        });
        return;
      }
      if (verification.kind !== 'spent' || settled.kind !== 'settled') throw new Error(verification.kind);
      expect(verification.settlement).toMatchObject({ reference: settled.reference, units: intent.units });
      expect(verification.authorization).toMatchObject({ claimKey: intent.claimKey, state: 'paid' });
    });

    test('a look moves nothing: unknown before the settlement, settled after it', async () => {
      const { rail, intent } = await prepare();
      const before = await harness.received();
      const looked = await rail.lookup(intent, anySignal());
      expect(looked.kind).toBe(isPaidWhenShown ? 'settled' : 'unknown');
      expect(await harness.received()).toBe(before);
      const settled = await rail.settle(intent, anySignal());
      expect(await rail.lookup(intent, anySignal())).toEqual(settled);
      expect(await harness.received()).toBe(before + movedBy(intent));
    });

    test('ten different payments at once are ten settlements with ten references', async () => {
      const prepared = await Promise.all(Array.from({ length: 10 }, prepare));
      const before = await harness.received();
      const settlements = await Promise.all(
        prepared.map(({ rail, intent }) => rail.settle(intent, anySignal())),
      );
      const references = settlements.map((each) => (each.kind === 'settled' ? each.reference : each.kind));
      expect(new Set(references).size).toBe(10);
      expect(settlements.map((each) => each.kind)).toEqual(Array(10).fill('settled'));
      const total = prepared.reduce((sum, { intent }) => sum + movedBy(intent), 0n);
      expect(await harness.received()).toBe(before + total);
    });

    test('cancelling is safe to repeat, and a caller who has gone gets no exception', async () => {
      const { rail, quote, form, intent } = await prepare();
      await rail.cancel(intent, anySignal());
      await rail.cancel(intent, anySignal());
      const gone = AbortSignal.abort();
      expect((await rail.verify(form, quote, gone)).kind).toBe('unavailable');
      expect((await rail.settle(intent, gone)).kind).toBe('unknown');
      expect((await rail.lookup(intent, gone)).kind).toBe('unknown');
    });

    if (isHolding) describeHolding(prepare, () => harness);
  });
}

type Prepared = { rail: Rail; quote: Quote; form: Form; intent: SettlementIntent };

/** What a rail promises besides when it sets money aside before the run. */
function describeHolding(prepare: () => Promise<Prepared>, harnessOf: () => RailHarness): void {
  const holdOf = async (rail: Rail, intent: SettlementIntent, signal = anySignal()) => {
    if (!rail.hold) throw new Error('the rail does not hold');
    return rail.hold(intent, signal);
  };

  test('holding moves nothing, and settling what is held moves it once', async () => {
    const harness = harnessOf();
    const { rail, intent } = await prepare();
    const before = await harness.received();
    expect(await holdOf(rail, intent)).toEqual({ kind: 'held' });
    expect(await harness.received()).toBe(before);
    expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
    expect(await harness.createRail().settle(intent, anySignal())).toMatchObject({ kind: 'settled' });
    expect(await harness.received()).toBe(before + intent.units);
  });

  test('five holds of one intent at once, from two gateways, hold once', async () => {
    const harness = harnessOf();
    const { rail, intent } = await prepare();
    const other = harness.createRail();
    const before = await harness.received();
    const holdings = await Promise.all([rail, other, rail, other, rail].map((each) => holdOf(each, intent)));
    expect(holdings).toEqual(Array(5).fill({ kind: 'held' }));
    await rail.settle(intent, anySignal());
    expect(await harness.received()).toBe(before + intent.units);
  });

  test('what was held and cancelled is never settled, however often both are tried', async () => {
    const harness = harnessOf();
    const { rail, intent } = await prepare();
    const before = await harness.received();
    await holdOf(rail, intent);
    await rail.cancel(intent, anySignal());
    await harness.createRail().cancel(intent, anySignal());
    expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
    expect((await rail.lookup(intent, anySignal())).kind).toBe('refused');
    expect((await holdOf(rail, intent)).kind).toBe('refused');
    expect(await harness.received()).toBe(before);
  });

  test('a caller who has gone gets no hold and no exception', async () => {
    const { rail, intent } = await prepare();
    expect((await holdOf(rail, intent, AbortSignal.abort())).kind).toBe('unknown');
  });
}

function bigints(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
