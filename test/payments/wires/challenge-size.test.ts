import { expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { createQuoteSealer } from '../../../src/payments/quote-seal.ts';
import { createL402Wire } from '../../../src/payments/wires/l402/index.ts';
import { createX402Wire } from '../../../src/payments/wires/x402/index.ts';
import { quoteOf } from '../rails/conformance.ts';
import { bolt11Offer, everyOffer, request, secret, wireOf } from './mpp-fixtures.ts';

const deps = { secrets: [secret], clock: systemClock, log: silentLog };
const wires = [createX402Wire(deps), wireOf(), createL402Wire(deps)];

test('the challenges of all wires and methods together stay under 8 KB', () => {
  const sealer = createQuoteSealer({ secrets: [secret], clock: systemClock, lifetimeMs: 300_000 });
  const { id: _, expiresAt: __, ...terms } = quoteOf();
  terms.resource.url = `https://gateway.example/invoke/${'n'.repeat(100)}`;
  terms.resource.description = 'A sentence that says what is sold, of the length a listing has.'.repeat(4);
  const quote = sealer.issue(terms);
  const quoteToken = sealer.seal(quote);
  expect(quoteToken.length).toBeLessThan(400);
  // The longest invoices that nodes make, with a route hint.
  const offers = [
    ...everyOffer.filter(({ kind }) => kind !== 'bolt11'),
    { ...bolt11Offer, invoice: 'l'.repeat(420) },
  ];
  const sizes = wires.map((wire) => {
    const challenge = wire.challenge({
      quote,
      quoteToken,
      offers,
      carried: request({}, '{}'),
      refusal: undefined,
    });
    return (challenge?.headers ?? []).reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0);
  });
  expect(Math.min(...sizes)).toBeGreaterThan(0);
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(8 * 1024);
});
