import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { addMs } from '../../../../src/core/clock.ts';
import { silentLog } from '../../../../src/core/log.ts';
import { millicents } from '../../../../src/core/money.ts';
import {
  createRate,
  createRateSource,
  type RateSourceName,
  toMillicentsRoundedDown,
  toSatsRoundedUp,
} from '../../../../src/payments/rails/lightning/rate/index.ts';

/** What each ticker answers, in its own words; undefined is a server that is down. */
type Answers = Record<RateSourceName, string | undefined>;

const words: Record<RateSourceName, (price: string) => unknown> = {
  coinbase: (amount) => ({ data: { amount, base: 'BTC', currency: 'USD' } }),
  kraken: (price) => ({ error: [], result: { XXBTZUSD: { c: [price, '0.01'], v: ['1', '2'] } } }),
  bitstamp: (last) => ({ last, high: '1', timestamp: '1' }),
  mempool: (price) => ({ time: 1, USD: Number(price), EUR: 1 }),
};
const paths: Record<string, RateSourceName> = {
  '/v2/prices/BTC-USD/spot': 'coinbase',
  '/0/public/Ticker?pair=XBTUSD': 'kraken',
  '/api/v2/ticker/btcusd/': 'bitstamp',
  '/api/v1/prices': 'mempool',
};
const SOURCES: RateSourceName[] = ['coinbase', 'kraken', 'bitstamp', 'mempool'];
const signal = () => AbortSignal.timeout(5_000);

let server: Server;
let answers: Answers;
let now: Date;
beforeEach(async () => {
  answers = { coinbase: '100000.00', kraken: '100010.00000', bitstamp: '99990', mempool: '100000' };
  now = new Date('2026-01-01T00:00:00Z');
  server = createServer((request, response) => {
    const source = paths[request.url ?? ''];
    const price = source && answers[source];
    if (!source || price === undefined) return response.destroy();
    return response.end(JSON.stringify(words[source](price)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

function rateOf(names: RateSourceName[] = SOURCES) {
  const { port } = server.address() as AddressInfo;
  const sources = names.map((name) => createRateSource(name, `http://127.0.0.1:${port}`));
  return createRate({
    ...{ sources, clock: { now: () => now }, log: silentLog, refreshMs: 20, spreadBps: 100n },
    limits: { sourceMs: 1_000 },
  });
}

test('the rate is the median of the tickers, to the millicent', async () => {
  const rate = rateOf();
  expect(rate.current()).toBeUndefined();
  await rate.refresh(signal());
  expect(rate.current()).toEqual({
    millicentsPerBtc: 10_000_000_000n,
    source: SOURCES.join(','),
    at: now,
    spreadBps: 100n,
  });
  answers = { coinbase: '97123.456789', kraken: '97123.45678', bitstamp: undefined, mempool: undefined };
  await rate.refresh(signal());
  expect(rate.current()?.millicentsPerBtc).toBe(9_712_345_678n);
});

test('one ticker down: the others are enough', async () => {
  answers.kraken = undefined;
  const rate = rateOf();
  await rate.refresh(signal());
  expect(rate.current()).toMatchObject({ source: 'coinbase,bitstamp,mempool' });
});

test('one ticker lying: it does not move the rate', async () => {
  answers.mempool = '1000000';
  const rate = rateOf();
  await rate.refresh(signal());
  expect(rate.current()).toMatchObject({
    millicentsPerBtc: 10_000_000_000n,
    source: 'coinbase,kraken,bitstamp',
  });
});

test('two tickers that disagree give no rate, rather than a wrong one', async () => {
  const rate = rateOf(['coinbase', 'kraken']);
  answers.kraken = '120000';
  await rate.refresh(signal());
  expect(rate.current()).toBeUndefined();
});

test('all tickers down: the spread widens after two minutes and the rate ends after ten, and it comes back', async () => {
  const rate = rateOf();
  await rate.refresh(signal());
  const start = now;
  answers = { coinbase: undefined, kraken: undefined, bitstamp: undefined, mempool: undefined };
  for (const [ageMs, spreadBps] of [
    [119_999, 100n],
    [120_000, 300n],
    [599_999, 300n],
    [600_000, undefined],
  ] as const) {
    now = addMs(start, ageMs);
    await rate.refresh(signal());
    expect(rate.current()?.spreadBps).toBe(spreadBps);
  }
  answers = { coinbase: '50000', kraken: '50000', bitstamp: '50000', mempool: '50000' };
  await rate.refresh(signal());
  expect(rate.current()).toMatchObject({ millicentsPerBtc: 5_000_000_000n, at: now, spreadBps: 100n });
});

test.each(['0', '-5', '1e9', 'NaN', '100,000', '99999999999', ''])(
  'a ticker that answers %j is no ticker',
  async (price) => {
    answers.coinbase = price;
    const rate = rateOf(['coinbase', 'kraken']);
    await rate.refresh(signal());
    expect(rate.current()).toBeUndefined();
  },
);

test('the rate refreshes in the background until it is stopped', async () => {
  const rate = rateOf();
  const stop = new AbortController();
  const running = rate.run(stop.signal);
  await expect.poll(() => rate.current()?.millicentsPerBtc).toBe(10_000_000_000n);
  answers = { coinbase: '90000', kraken: '90000', bitstamp: '90000', mempool: '90000' };
  await expect.poll(() => rate.current()?.millicentsPerBtc).toBe(9_000_000_000n);
  stop.abort();
  await running;
});

test('one source is no rate', () => {
  expect(() => rateOf(['coinbase'])).toThrow(/at least 2 sources/);
});

test('satoshis are rounded up and what they are worth covers the price, whatever the rate', () => {
  for (const price of [1n, 99n, 100n, 250n, 10_000n, 123_457n, 100_000_000n]) {
    for (const millicentsPerBtc of [100_000n, 2_999_999_999n, 10_000_000_000n, 98_765_432_109n]) {
      for (const spreadBps of [0n, 50n, 100n, 300n]) {
        const sats = toSatsRoundedUp(millicents(price), { millicentsPerBtc, spreadBps });
        const worth = toMillicentsRoundedDown(sats * 1_000n, millicentsPerBtc);
        expect(worth).toBeGreaterThanOrEqual((price * (10_000n + spreadBps)) / 10_000n);
        const oneLess = ((sats - 1n) * millicentsPerBtc * 10_000n) / 100_000_000n;
        expect(oneLess).toBeLessThan(price * (10_000n + spreadBps));
      }
    }
  }
});
