import { z } from 'zod';
import { createHttp, expectSuccess, type HttpCall } from '../http.ts';

/** One public ticker. */
export type RateSource = {
  name: string;
  /** Millicents for one bitcoin. */
  read(signal: AbortSignal): Promise<bigint>;
};

export type RateSourceName = 'coinbase' | 'kraken' | 'bitstamp' | 'mempool';

/** Public tickers that need no account, with the addresses they are served at. */
export const RATE_SOURCE_URLS: Record<RateSourceName, string> = {
  coinbase: 'https://api.coinbase.com',
  kraken: 'https://api.kraken.com',
  bitstamp: 'https://www.bitstamp.net',
  mempool: 'https://mempool.space',
};

/** The ticker of this name at `baseUrl`. */
export function createRateSource(name: RateSourceName, baseUrl: string = RATE_SOURCE_URLS[name]): RateSource {
  const http = createHttp({ baseUrl, timeoutMs: TIMEOUT_MS });
  const { path, schema } = TICKERS[name];
  const call: HttpCall = { method: 'GET', path, headers: { accept: 'application/json' } };
  return {
    name,
    read: async (signal) => schema.parse(expectSuccess(call, await http.send(call, signal))),
  };
}

const TIMEOUT_MS = 5_000;

const MILLICENT_DECIMALS = 5;
/** From a dollar to a billion: beyond it a ticker talks about something else. */
const PRICE = /^([1-9][0-9]{0,8})(?:\.([0-9]{1,20}))?$/;

/** A price in dollars as tickers write it, read digit by digit: never through a float. */
const dollars = z.union([z.string(), z.number().transform(String)]).transform((text, context) => {
  const [, whole, fraction = ''] = PRICE.exec(text) ?? [];
  if (whole !== undefined)
    return BigInt(whole + fraction.slice(0, MILLICENT_DECIMALS).padEnd(MILLICENT_DECIMALS, '0'));
  context.addIssue({ code: 'custom', message: 'not a price in dollars' });
  return z.NEVER;
});

/** Where each ticker keeps the price of one bitcoin in dollars. */
const TICKERS: Record<RateSourceName, { path: string; schema: z.ZodType<bigint> }> = {
  coinbase: {
    path: '/v2/prices/BTC-USD/spot',
    schema: z
      .object({ data: z.object({ amount: dollars, base: z.literal('BTC'), currency: z.literal('USD') }) })
      .transform(({ data }) => data.amount),
  },
  kraken: {
    path: '/0/public/Ticker?pair=XBTUSD',
    schema: z
      .object({
        error: z.array(z.unknown()).max(0),
        // The price and the size of the last trade.
        result: z.object({ XXBTZUSD: z.object({ c: z.tuple([dollars]).rest(z.unknown()) }) }),
      })
      .transform(({ result }) => result.XXBTZUSD.c[0]),
  },
  bitstamp: {
    path: '/api/v2/ticker/btcusd/',
    schema: z.object({ last: dollars }).transform(({ last }) => last),
  },
  mempool: {
    path: '/api/v1/prices',
    schema: z.object({ USD: dollars }).transform(({ USD }) => USD),
  },
};
