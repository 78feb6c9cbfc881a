import type { Sql } from '../db/index.ts';
import { createGuesses, type Guesses } from './guesses.ts';
import { createLimiter, type Limiter, type LimitName } from './limiter.ts';
import { exchangeTaken, pruneBuckets } from './store.ts';
import type { RatePolicy } from './token-bucket.ts';

export type RatePolicies = Record<LimitName, RatePolicy>;

/** Who may call how fast. */
export type Traffic = {
  key: Limiter;
  /** The account of a key, and whoever signed a credential. */
  payer: Limiter;
  address: Limiter;
  /** Keys that are none, by the address they came from, and what they cost it. */
  wrongKeys: Limiter;
  guesses: Guesses;
  /** Tells the other processes what was taken here, and hears what they gave out. Runs a few times a second. */
  exchange(): Promise<void>;
  /** Forgets shared buckets that are full again. */
  prune(): Promise<number>;
};

const REPORTS_MAX = 1_000;
/** How long a database that did not answer is left alone. */
const REST_MS = 2_000;

export function createTraffic(deps: {
  sql: Sql;
  policies: RatePolicies;
  /** Milliseconds of a clock that never goes backwards. */
  nowMs?: () => number;
}): Traffic {
  const { sql, policies, nowMs = () => performance.now() } = deps;
  const open = (name: LimitName) => createLimiter({ name, policy: policies[name], nowMs });
  const key = open('key');
  const payer = open('payer');
  const address = open('address');
  const wrongKeys = open('wrong-keys');
  const limiters = [key, payer, address, wrongKeys];
  let restsUntilMs = 0;
  return {
    ...{ key, payer, address, wrongKeys, guesses: createGuesses(wrongKeys) },
    async exchange() {
      if (nowMs() < restsUntilMs) return;
      const reports = limiters.flatMap((limiter) => limiter.report(REPORTS_MAX));
      if (reports.length === 0) return;
      try {
        const missing = await exchangeTaken(sql, reports);
        for (const { name, confirm } of reports) confirm(missing.get(name) ?? 0);
      } catch (cause) {
        // Without the database every process limits by itself; the reports are made again.
        for (const { fail } of reports) fail();
        restsUntilMs = nowMs() + REST_MS;
        throw cause;
      }
    },
    prune: () => pruneBuckets(sql),
  };
}
