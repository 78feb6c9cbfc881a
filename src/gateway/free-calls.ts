import { Problem } from '../core/problem.ts';

/** Keeps calls that nobody pays for from taking the places of those that somebody does. */
export type FreeCalls = {
  /** Runs a free call, or refuses it while as many as may be are running. */
  run<T>(call: () => Promise<T>): Promise<T>;
};

export function createFreeCalls(deps: { inFlightMax: number }): FreeCalls {
  let inFlight = 0;
  return {
    async run(call) {
      if (inFlight >= deps.inFlightMax) {
        throw new Problem('too-many-requests', {
          detail: 'As many free calls as may run at once are running. Try again in a moment.',
          retryAfterSeconds: 1,
          isUncharged: true,
        });
      }
      inFlight += 1;
      try {
        return await call();
      } finally {
        inFlight -= 1;
      }
    },
  };
}
