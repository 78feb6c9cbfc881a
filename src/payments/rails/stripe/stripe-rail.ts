import { z } from 'zod';
import { invariant } from '../../../core/invariant.ts';
import { createMemo } from '../../../core/memo.ts';
import type { CheckoutForm, Form, SptForm } from '../../form.ts';
import type { Quote } from '../../quote.ts';
import type { Rail, RailBalance, SptOffer } from '../../rail.ts';
import { expireCheckout, lookUpCheckout } from './checkout-session.ts';
import { type StripeRailDeps, toCentsRoundedUp, UNITS_MAX, within } from './context.ts';
import { ACCOUNT, claimKeyOf, payerOf, UNIT } from './identity.ts';
import { cancelSpt, holdSpt, lookUpSpt, settleSpt } from './spt-settle.ts';
import { verifySpt } from './spt-verify.ts';

/** The rail on which Stripe charges a card: by a shared payment token at once, by Checkout in a browser. */
export function createStripeRail(deps: StripeRailDeps): Rail {
  const { lookMs, settleMs } = deps.timeouts;
  const offers = createOffers(deps);
  return {
    name: 'stripe',
    forms: ['spt', 'checkout'],
    identify(given) {
      const form = expectStripeForm(given);
      return { claimKey: claimKeyOf(form), payer: payerOf(form) };
    },
    offer: ({ quote }) => offers(quote),
    async verify(given, quote, signal) {
      const form = expectStripeForm(given);
      if (form.kind === 'checkout') return { kind: 'refused', reason: BY_BROWSER };
      return verifySpt(deps, { form, quote }, within(signal, lookMs));
    },
    async hold(intent, signal) {
      if (intent.form.kind === 'checkout') return { kind: 'refused', reason: BY_BROWSER };
      return holdSpt(deps, intent, within(signal, settleMs));
    },
    settle: (intent, signal) =>
      (isSpt(intent.form) ? settleSpt : lookUpCheckout)(deps, intent, within(signal, settleMs)),
    lookup: (intent, signal) =>
      (isSpt(intent.form) ? lookUpSpt : lookUpCheckout)(deps, intent, within(signal, lookMs)),
    cancel: (intent, signal) =>
      (isSpt(intent.form) ? cancelSpt : expireCheckout)(deps, intent, within(signal, settleMs)),
    balances: (signal) => readBalances(deps, within(signal, lookMs)),
  };
}

const BY_BROWSER = 'A Checkout session is paid in a browser and cannot be shown as a payment.';

function isSpt(form: Form): boolean {
  return form.kind === 'spt';
}

function expectStripeForm(form: Form): SptForm | CheckoutForm {
  invariant(form.kind === 'spt' || form.kind === 'checkout', `a form of kind ${form.kind} reached stripe`);
  return form;
}

const OFFERS_KEPT_MAX = 1_000;

/** Makes an offer once for its terms: wires spell what they see again once. */
function createOffers(deps: StripeRailDeps): (quote: Quote) => SptOffer[] {
  const made = createMemo<SptOffer>(OFFERS_KEPT_MAX);
  const { networkId, paymentMethodTypes, amountMin, client } = deps;
  return ({ amount }) => {
    const units = toCentsRoundedUp(amount);
    if (networkId === undefined || amount < amountMin || units > UNITS_MAX) return [];
    if (!client.health.isUp()) return [];
    return [made(`${units}`, () => ({ kind: 'spt', currency: 'usd', units, networkId, paymentMethodTypes }))];
  };
}

const balanceSchema = z.object({
  available: z.array(z.object({ amount: z.int(), currency: z.string() })),
  pending: z.array(z.object({ amount: z.int(), currency: z.string() })),
});

/** What Stripe owes us: what may be paid out, and what matures until it may. */
async function readBalances(deps: StripeRailDeps, signal: AbortSignal): Promise<RailBalance[]> {
  const balance = balanceSchema.parse(await deps.client.call(signal, (stripe) => stripe.balance.retrieve()));
  const cents = [...balance.available, ...balance.pending]
    .filter(({ currency }) => currency === 'usd')
    .reduce((sum, { amount }) => sum + BigInt(amount), 0n);
  return [{ account: ACCOUNT, unit: UNIT, units: cents }];
}
