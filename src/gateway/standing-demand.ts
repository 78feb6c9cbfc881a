import { invariant } from '../core/invariant.ts';
import { type Problem, spellProblem } from '../core/problem.ts';
import type { Offer, Quote, QuoteSeries, StandingChallenge } from '../payments/index.ts';
import { type Demand, type DemandDeps, toPaymentProblem } from './demand.ts';
import { type Sale, toDemand } from './sale.ts';

/** The 402 of one request that many strangers send alike, who show nothing and say nothing of how they pay. */
export type StandingDemand = {
  /**
   * False where each caller has to be asked by `demandPayment`: an offer would be minted for its quote alone, or
   * there is none.
   */
  isFor(addressOf: () => string | undefined): boolean;
  /** What `demandPayment` would ask, with a quote of its own; only right after `isFor`. */
  ask(requestId: string): SpelledDemand;
};

/** A 402, ready to be written. */
export type SpelledDemand = {
  problem: Problem;
  /** Of the wires, one value for each name. */
  headers: [name: string, value: string][];
  body: string;
};

/** How long what was spelled once is used: a rail that goes down is offered that much longer. */
const RENEWED_MS = 200;

/** Stands where the request's id and nothing else stands in a problem document. */
const PLACE = '00000000-0000-0000-0000-000000000000';

/**
 * Everything in a 402 but its quote, and the ids that follow from that, is alike for a while: it is spelled once
 * in that while. A flood of them touches no database and calls nobody.
 */
export function standDemand(deps: DemandDeps, sale: Sale, method: string): StandingDemand {
  const demand = toDemand(sale, { method, header: () => undefined });
  let current: Standing | undefined;
  let [usedUntil, sealer] = [0, deps.quotes];
  const renew = () => {
    const now = performance.now();
    if (now < usedUntil && sealer === deps.quotes) return current;
    current = spellOnce(deps, demand);
    [usedUntil, sealer] = [now + RENEWED_MS, deps.quotes];
    return current;
  };
  return {
    isFor(addressOf) {
      const quote = renew()?.quote;
      if (!quote) return false;
      return !deps.rails.some((rail) => rail.mints?.({ quote, address: addressOf() }) === true);
    },
    ask(requestId) {
      invariant(current, 'who asks has made sure that this is for them');
      const { series, challenges, problem, before, after } = current;
      const quoteToken = series.next();
      const headers: [name: string, value: string][] = [];
      for (const challenge of challenges) headers.push(...challenge.headers(quoteToken));
      return { problem, headers, body: before + requestId + after };
    },
  };
}

type Standing = {
  /** On the terms of all of them, and of none. */
  quote: Quote;
  series: QuoteSeries;
  challenges: StandingChallenge[];
  problem: Problem;
  /** The body around the request's id. */
  before: string;
  after: string;
};

function spellOnce(deps: DemandDeps, demand: Demand): Standing | undefined {
  const series = deps.quotes.series(demand);
  const quote = { ...deps.quotes.issue(demand), expiresAt: series.expiresAt };
  const offers = listStandingOffers(deps, quote);
  const { resource, purpose, carried } = demand;
  const input = { offers, resource, method: carried.method ?? purpose, expiresAt: series.expiresAt };
  const challenges = deps.wires
    .map((wire) => wire.prepare(input))
    .filter((challenge) => challenge !== undefined);
  if (challenges.length === 0) return undefined;
  const bodies = challenges.map(({ body }) => ({ headers: [], body }));
  const problem = toPaymentProblem({ quote, refusal: undefined }, bodies, undefined);
  const [before = '', after] = spellProblem(problem, PLACE).split(PLACE);
  invariant(after !== undefined, 'a problem document names its request');
  return { quote, series, challenges, problem, before, after };
}

/** Of the rails that mint nothing: whoever would be minted for is not asked by this. */
function listStandingOffers(deps: DemandDeps, quote: Quote): Offer[] {
  const offers: Offer[] = [];
  for (const rail of deps.rails) {
    if (rail.mints) continue;
    const offered = rail.offer({ quote, address: undefined }, deps.challengeBound());
    invariant(Array.isArray(offered), `${rail.name} has to be asked for each quote`);
    offers.push(...offered);
  }
  return offers;
}
