import { expect, test } from 'vitest';
import type { Listing } from '../../src/catalog/index.ts';
import { type Millicents, millicents } from '../../src/core/money.ts';
import { createPriceTags } from '../../src/gateway/index.ts';
import type { Rail } from '../../src/payments/index.ts';
import { createQuoteSealer } from '../../src/payments/index.ts';
import { evmOffer, secret } from '../payments/wires/mpp-fixtures.ts';

/** A rail of tokens that counts how often it is asked, and can go away. */
function createTokens() {
  const asked: Millicents[] = [];
  const state = { isUp: true };
  const offer: Rail['offer'] = ({ quote }) => {
    asked.push(quote.amount);
    return state.isUp ? [{ ...evmOffer, units: quote.amount * 10n }] : [];
  };
  return { asked, state, rail: { name: 'evm', forms: ['eip3009'], offer } as unknown as Rail };
}

function createShop(rails: Rail[]) {
  const time = { now: new Date() };
  const clock = { now: () => time.now };
  const quotes = createQuoteSealer({ secrets: [secret], clock, lifetimeMs: 60_000 });
  const tagsOf = createPriceTags({ rails, quotes, clock, challengeBound: () => AbortSignal.timeout(1_000) });
  return { time, tagsOf };
}

const tools = ['one', 'other', 'free'].map((name) => ({ name, inputSchema: {} }));

/** A listing as the catalog makes one anew for each request. */
const listingOf = (prices: object, amount = 250) =>
  ({
    ...{ tools, prices, version: { limits: {} } },
    priceOf: (name: string) => millicents(name === 'free' ? 0 : amount),
  }) as unknown as Listing;

test('tags are worked out once for a listing, with one look at the rail for each price, and told again', () => {
  const { rail, asked } = createTokens();
  const { tagsOf } = createShop([rail]);
  const prices = {};
  const tags = tagsOf(listingOf(prices));
  expect(tagsOf(listingOf(prices))).toBe(tags);
  expect(asked).toEqual([250n]);
  expect(tags.get('one')).toMatchObject({ x402: { amount: '2500', scheme: 'exact', payTo: evmOffer.payTo } });
  expect(tags.get('free')).toEqual({ 'millicent/price': { amount_mcents: 0, currency: 'USD' } });
});

test('a new price is told at once, and a rail that went away soon', () => {
  const { rail, state } = createTokens();
  const { tagsOf, time } = createShop([rail]);
  const prices = {};
  tagsOf(listingOf({}));
  expect(tagsOf(listingOf(prices, 300)).get('one')).toMatchObject({ x402: { amount: '3000' } });
  state.isUp = false;
  time.now = new Date(time.now.getTime() + 10_000);
  expect(tagsOf(listingOf(prices, 300)).get('one')).toEqual({
    'millicent/price': { amount_mcents: 300, currency: 'USD' },
  });
});

test('a rail that would mint something for the list is not asked', () => {
  const lightning = { name: 'lightning', forms: ['preimage'], offer: () => expect.fail('asked') };
  const { tagsOf } = createShop([lightning as unknown as Rail]);
  expect(tagsOf(listingOf({})).get('one')).not.toHaveProperty('x402');
});
