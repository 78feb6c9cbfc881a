import { Problem } from '../core/problem.ts';

/** Keeps calls that nobody pays for from taking the places of those that somebody does. */
export type FreeCalls = {
  /**
   * Runs a free call, or refuses it while as many as may be are running. `asker` is the account or the address that
   * asks: no one of them has all places. Undefined is nobody in particular.
   */
  run<T>(call: () => Promise<T>, asker?: string): Promise<T>;
};

/** What one asker may have of the places, in quarters. */
const SHARE_QUARTERS = 3;

export function createFreeCalls(deps: { inFlightMax: number }): FreeCalls {
  const { inFlightMax } = deps;
  const shareMax = Math.max(1, Math.floor((inFlightMax * SHARE_QUARTERS) / 4));
  const byAsker = new Map<string, number>();
  let inFlight = 0;
  const count = (asker: string | undefined, change: 1 | -1) => {
    inFlight += change;
    if (asker === undefined) return;
    const left = (byAsker.get(asker) ?? 0) + change;
    if (left === 0) byAsker.delete(asker);
    else byAsker.set(asker, left);
  };
  return {
    async run(call, asker) {
      if (inFlight >= inFlightMax) throw refuse('As many free calls as may run at once are running.');
      if (asker !== undefined && (byAsker.get(asker) ?? 0) >= shareMax) {
        throw refuse('As many free calls as you may run at once are running.');
      }
      count(asker, 1);
      try {
        return await call();
      } finally {
        count(asker, -1);
      }
    },
  };
}

function refuse(why: string): Problem {
  return new Problem('too-many-requests', {
    detail: `${why} Try again in a moment.`,
    retryAfterSeconds: 1,
    isUncharged: true,
  });
}
