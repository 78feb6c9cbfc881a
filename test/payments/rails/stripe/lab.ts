import { type StripeServer, startStripe } from '../../../../scripts/dev/stripe.ts';
import { addMs, type Clock } from '../../../../src/core/clock.ts';
import { silentLog } from '../../../../src/core/log.ts';
import { millicents } from '../../../../src/core/money.ts';
import type { Checkout } from '../../../../src/payments/checkout.ts';
import { expectForm, type Form, formSchema, type SptForm } from '../../../../src/payments/form.ts';
import type { Offer, Rail, SettlementIntent } from '../../../../src/payments/rail.ts';
import {
  createStripeCheckout,
  createStripeClient,
  createStripeRail,
  type StripeRailDeps,
} from '../../../../src/payments/rails/stripe/index.ts';
import { anySignal, authorise, expectOffer, type Fault, intentOf, offerOf, quoteOf } from '../conformance.ts';

/** $5.00. */
export const PRICE = 500_000n;

/** The stripe rail with a server that speaks Stripe's API, and a clock that tests move. */
export type StripeLab = {
  stripe: StripeServer;
  clock: Clock & { advance(ms: number): void };
  rail(options?: RailOptions): Rail;
  checkout(): Checkout;
  pay(offer: Offer, fault?: Fault): Promise<Form>;
  /** A payment by a new token, verified and ready to hold or settle. */
  prepare(paymentMethod?: string, validForMs?: number): Promise<Prepared>;
  received(): Promise<bigint>;
  close(): Promise<void>;
};

export type RailOptions = { secretKey?: string; networkId?: string | undefined };

export type Prepared = { rail: Rail; form: SptForm; intent: SettlementIntent };

export async function startStripeLab(): Promise<StripeLab> {
  const clock = createMovableClock();
  const stripe = await startStripe({ nowMs: () => clock.now().getTime() });
  const depsOf = (options: { secretKey?: string } = {}): StripeRailDeps => ({
    client: createStripeClient({
      secretKey: options.secretKey ?? stripe.secretKey,
      apiBase: stripe.apiBase,
      clock,
      timeouts: { requestMs: 2_000, retryMs: 20 },
    }),
    networkId: stripe.networkId,
    amountMin: millicents(50_000n),
    paymentMethodTypes: ['card', 'link'],
    clock,
    log: silentLog,
    timeouts: { lookMs: 5_000, settleMs: 10_000 },
  });
  const rail: StripeLab['rail'] = (options = {}) =>
    createStripeRail({
      ...depsOf(options),
      ...('networkId' in options ? { networkId: options.networkId } : {}),
    });
  return {
    stripe,
    clock,
    rail,
    checkout: () => createStripeCheckout(depsOf()),
    pay: async (offer, fault) => payWithFault(stripe, clock, offer, fault),
    async prepare(paymentMethod = 'pm_card_visa', validForMs = 300_000) {
      const ours = rail();
      const quote = quoteOf({ amount: millicents(PRICE) });
      const { units } = expectOffer(await offerOf(ours, quote), 'spt');
      const expiresAt = Math.floor((clock.now().getTime() + validForMs) / 1_000);
      const form = toForm(stripe.grantToken({ maxAmount: Number(units), paymentMethod, expiresAt }));
      return { rail: ours, form, intent: intentOf(await authorise(ours, form, quote)) };
    },
    received: async () => BigInt(stripe.sums().gross),
    close: stripe.close,
  };
}

export function toForm(token: string): SptForm {
  return expectForm(formSchema.parse({ kind: 'spt', token }), 'spt');
}

/** Holds, on a rail that is known to. */
export async function hold(rail: Rail, intent: SettlementIntent) {
  if (!rail.hold) throw new Error('the rail does not hold');
  return rail.hold(intent, anySignal());
}

function createMovableClock(): StripeLab['clock'] {
  let ahead = 0;
  return {
    now: () => addMs(new Date(), ahead),
    advance(ms) {
      ahead += ms;
    },
  };
}

function payWithFault(stripe: StripeServer, clock: Clock, given: Offer, fault: Fault | undefined): Form {
  const offer = expectOffer(given, 'spt');
  const maxAmount = Number(offer.units);
  const seconds = Math.floor(clock.now().getTime() / 1_000);
  switch (fault) {
    case undefined:
      return toForm(stripe.grantToken({ maxAmount }));
    case 'pays-less':
      return toForm(stripe.grantToken({ maxAmount: maxAmount - 1 }));
    case 'pays-more':
      return toForm(stripe.grantToken({ maxAmount: maxAmount + 1 }));
    case 'pays-another':
      return toForm(stripe.grantToken({ maxAmount, networkId: 'profile_test_another' }));
    case 'expires-too-soon':
      return toForm(stripe.grantToken({ maxAmount, expiresAt: seconds + 3 }));
    case 'forged':
      return toForm('spt_1RgaZcFPC5QUO6ZCDVZuVA8q');
    default:
      throw fault satisfies never;
  }
}
