import { Challenge as MppxChallenge } from 'mppx';
import { expect, test } from 'vitest';
import { spellProblem } from '../../src/core/problem.ts';
import { demandPayment } from '../../src/gateway/demand.ts';
import { toDemand } from '../../src/gateway/sale.ts';
import { type SpelledDemand, standDemand } from '../../src/gateway/standing-demand.ts';
import { createMintLimit } from '../../src/payments/rails/lightning/mint-limit.ts';
import { isBound, toBindingKey } from '../../src/payments/wires/mpp/binding.ts';
import { bolt11Offer, evmOffer, tempoOffer } from '../payments/wires/mpp-fixtures.ts';
import { REALM, railOf, sale, secret, standingDeps } from './standing-fixtures.ts';

const ID = '0a8f1c1e-6e45-46b4-a110-11a71d84d69d';
const nobody = () => undefined;

type Said = Pick<SpelledDemand, 'headers' | 'body'>;

const toText = (opaque: unknown) => Buffer.from(String(opaque), 'base64url').toString();

/** What a 402 says, read the way clients read it, and its secret apart. */
function read({ headers, body }: Said) {
  const of = (name: string) =>
    headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
  const x402 = JSON.parse(Buffer.from(of('payment-required').join(), 'base64').toString());
  const quote: string = x402.extensions['millicent-quote'].info.quote;
  const response = new Response(null, {
    status: 402,
    headers: { 'www-authenticate': of('www-authenticate').join(', ') },
  });
  const mpp = MppxChallenge.fromResponseList(response);
  const challenges = mpp.map(({ id: _, opaque, ...rest }) => ({ ...rest, opaque: toText(opaque) }));
  const told = JSON.stringify([x402, challenges, JSON.parse(body)]);
  return { quote, mpp, told: told.replaceAll(quote, 'QUOTE').replaceAll(/20\d\d-[^"]*Z/g, 'TIME') };
}

test('what is spelled once says what everybody else is asked, but for the quote', async () => {
  const deps = standingDeps();
  const demand = standDemand(deps, sale, 'GET');
  expect(demand.isFor(nobody)).toBe(true);
  const problem = await demandPayment(deps, toDemand(sale, { method: 'GET', header: nobody }));
  const headers = (problem.options.headers ?? []).map(([name, value]): [string, string] => [name, value]);
  const general = read({ headers, body: spellProblem(problem, ID) });
  const standing = read(demand.ask(ID));
  expect(standing.told).toBe(general.told);
  expect(standing.mpp.map(({ method }) => method)).toEqual(['evm', 'tempo']);
});

test('each 402 of a flood has a secret quote of its own, under our MACs, and is kept nowhere', () => {
  const deps = standingDeps();
  const demand = standDemand(deps, sale, 'GET');
  const keys = [toBindingKey(secret)];
  const [quotes, ids] = [new Set<string>(), new Set<string>()];
  for (let count = 0; count < 2_000; count += 1) {
    expect(demand.isFor(nobody)).toBe(true);
    const { headers, body } = demand.ask(ID);
    const { quote, mpp } = read({ headers, body });
    const opened = deps.quotes.open(quote);
    if (opened.kind !== 'open') throw new Error(opened.kind);
    quotes.add(opened.quote.id);
    expect(opened.quote.amount).toBe(sale.price);
    for (const { id, expires, opaque, ...terms } of mpp) {
      ids.add(id);
      // The terms as they stand in the header, not as the client reads them.
      const said =
        headers
          .find(([name]) => name === 'WWW-Authenticate')?.[1]
          .split('Payment id=')
          .find((part) => part.includes(id)) ?? '';
      const text = (name: string) => new RegExp(`${name}="([^"]*)"`).exec(said)?.[1] ?? '';
      const { method, intent } = terms;
      const bound = {
        realm: REALM,
        method,
        intent,
        request: text('request'),
        header: 'Payment-Authorization',
      };
      expect(isBound(keys, id, { ...bound, expires, opaque: text('opaque') })).toBe(true);
    }
  }
  expect(quotes.size).toBe(2_000);
  expect(ids.size).toBe(4_000);
});

test('who would have an invoice minted is asked for itself, and over the limit nobody is', () => {
  const clock = { now: () => new Date('2026-01-01T00:00:00Z') };
  const limit = createMintLimit({ clock, perAddress: 2, total: 3 });
  let minted = 0;
  const lightning = railOf(
    'lightning',
    ({ address }) => {
      if (!limit.take(address)) return [];
      minted += 1;
      return [bolt11Offer];
    },
    { mints: ({ address }) => limit.has(address) },
  );
  const deps = standingDeps([railOf('evm', () => [evmOffer]), lightning]);
  const demand = standDemand(deps, sale, 'GET');
  // To ask takes nothing.
  for (let count = 0; count < 100; count += 1) expect(demand.isFor(() => '192.0.2.1')).toBe(false);
  expect([limit.take('192.0.2.1'), limit.take('192.0.2.1')]).toEqual([true, true]);
  expect(demand.isFor(() => '192.0.2.1')).toBe(true);
  expect(demand.isFor(() => '192.0.2.2')).toBe(false);
  expect(limit.take('192.0.2.2')).toBe(true);
  for (let host = 1; host < 250; host += 1) {
    expect(demand.isFor(() => `198.51.100.${host}`)).toBe(true);
    demand.ask(ID);
  }
  expect(minted).toBe(0);
});

test('a rail that goes down is not offered for long, and without any nobody is asked here', async () => {
  let isUp = true;
  const deps = standingDeps([
    railOf('evm', () => (isUp ? [evmOffer] : [])),
    railOf('tempo', () => (isUp ? [tempoOffer] : [])),
  ]);
  const demand = standDemand(deps, sale, 'GET');
  expect(demand.isFor(nobody)).toBe(true);
  isUp = false;
  await expect.poll(() => demand.isFor(nobody), { timeout: 2_000 }).toBe(false);
});
