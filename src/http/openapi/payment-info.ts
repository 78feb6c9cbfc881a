import { formatDollars, type Millicents, toTokenUnits } from '../../core/money.ts';
import type { HttpDeps } from '../env.ts';

type Offer = { intent: 'charge'; method: string; amount: string | null; currency: string };

/**
 * What an operation costs, for both readers of `x-payment-info`: `offers` as the MPP discovery draft spells them,
 * `price` and `protocols` as the directories of x402 read them. Advisory: the 402 itself is what counts.
 */
export function paymentInfo(deps: Pick<HttpDeps, 'rails' | 'wires'>, amount: Millicents) {
  const offers = deps.rails.flatMap(({ name }) => toOffer(name, amount) ?? []);
  const speaks = (wire: string) => deps.wires.some(({ name }) => name === wire);
  const [first] = offers;
  return {
    ...(offers.length > 0 ? { offers } : {}),
    price: { mode: 'fixed', currency: 'USD', amount: formatDollars(amount).replace('$', '') },
    protocols: [
      ...(speaks('x402') ? [{ x402: {} }] : []),
      ...(speaks('mpp') && first
        ? [{ mpp: { method: first.method, intent: first.intent, currency: first.currency } }]
        : []),
    ],
  };
}

/** A rail's own unit; null where the amount is known only when it is asked for. */
function toOffer(rail: string, amount: Millicents): Offer | undefined {
  switch (rail) {
    case 'evm':
    case 'tempo':
      return { intent: 'charge', method: rail, amount: toTokenUnits(amount).toString(), currency: 'USD' };
    case 'stripe':
      return amount < STRIPE_LEAST
        ? undefined
        : { intent: 'charge', method: rail, amount: ((amount + 999n) / 1000n).toString(), currency: 'usd' };
    case 'lightning':
      return { intent: 'charge', method: rail, amount: null, currency: 'sat' };
    default:
      return undefined;
  }
}

/** Fifty cents: what card networks take at least. */
const STRIPE_LEAST = 50_000n;
