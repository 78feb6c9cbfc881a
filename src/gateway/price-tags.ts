import type { Listing } from '../catalog/index.ts';
import type { Json } from '../core/canonical-json.ts';
import { type Millicents, toWireNumber } from '../core/money.ts';
import type { Offer } from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';
import { limitsOf } from './resolve-sale.ts';

/** What `tools/list` says of the price of a tool, as members of its `_meta`. */
export type PriceTag = { readonly [key: string]: Json };

/** The tags of a listing's tools, by the name of the tool. */
export type PriceTags = (listing: Listing) => ReadonlyMap<string, PriceTag>;

type TagDeps = Pick<GatewayDeps, 'rails' | 'quotes' | 'challengeBound' | 'clock'>;
type Stablecoin = Extract<Offer, { kind: 'eip3009' }>;

/** A rail that went away, or came back, is noticed after this long. */
const FRESH_MS = 10_000;

/**
 * Spells prices for the clients that read them off the list: `x402` (Apify's mcpc, which then pays in the
 * first request, at the listed price and without a quote), `agents-x402/*` (Cloudflare), and ours. They are worked
 * out once for a version's tools and kept while its prices and the rails stand.
 */
export function createPriceTags(deps: TagDeps): PriceTags {
  const kept = new WeakMap<Listing['tools'], Kept>();
  return (listing) => {
    const { tools, prices } = listing;
    const now = deps.clock.now().getTime();
    const known = kept.get(tools);
    if (known?.prices === prices && now < known.freshUntil) return known.tags;
    const offers = new Map<Millicents, Stablecoin | undefined>();
    const offerOf = (amount: Millicents) => {
      if (!offers.has(amount)) offers.set(amount, findOffer(deps, listing, amount));
      return offers.get(amount);
    };
    const tags = new Map(tools.map(({ name }) => [name, spellTag(listing.priceOf(name), offerOf)]));
    kept.set(tools, { prices, tags, freshUntil: now + FRESH_MS });
    return tags;
  };
}

type Kept = { prices: Listing['prices']; tags: ReadonlyMap<string, PriceTag>; freshUntil: number };

function spellTag(amount: Millicents, offerOf: (amount: Millicents) => Stablecoin | undefined): PriceTag {
  const price = { 'millicent/price': { amount_mcents: toWireNumber(amount), currency: 'USD' } };
  const offer = amount === 0n ? undefined : offerOf(amount);
  // Whoever reads more than ours pays in a token: where none is taken, it must not try.
  if (!offer) return price;
  return {
    ...price,
    x402: spellOffer(offer),
    'agents-x402/paymentRequired': true,
    'agents-x402/priceUSD': Number(amount) / MILLICENTS_PER_DOLLAR,
  };
}

const MILLICENTS_PER_DOLLAR = 100_000;

/** How one call can be paid in a token. Only rails that answer at once are asked: the others mint something. */
function findOffer(deps: TagDeps, listing: Listing, amount: Millicents): Stablecoin | undefined {
  const quote = deps.quotes.issue({
    ...{ purpose: 'call', amount, requestDigest: '', runTimeoutMs: limitsOf(listing.version).runTimeoutMs },
    resource: { url: '', description: '' },
  });
  for (const rail of deps.rails) {
    if (!rail.forms.includes('eip3009')) continue;
    const offers = rail.offer({ quote, address: undefined }, deps.challengeBound());
    if (!Array.isArray(offers)) continue;
    const offer = offers.find((candidate) => candidate.kind === 'eip3009');
    if (offer) return offer;
  }
  return undefined;
}

/** A payment requirement of x402 version 2, scheme `exact`. */
function spellOffer(offer: Stablecoin): Json {
  return {
    ...{ paymentRequired: true, scheme: 'exact', network: offer.network, amount: offer.units.toString() },
    ...{ asset: offer.asset, payTo: offer.payTo, maxTimeoutSeconds: offer.timeoutSeconds },
    extra: { name: offer.tokenName, version: offer.tokenVersion },
  };
}
