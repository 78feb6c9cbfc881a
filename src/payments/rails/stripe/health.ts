import type { Clock } from '../../../core/clock.ts';

/** Whether Stripe has been answering lately, so that no 402 has to ask it. */
export type Health = {
  note(outcome: 'answered' | 'failed'): void;
  isUp(): boolean;
};

/** One lost answer is an accident; this many in a row are an outage. */
const FAILURES_MAX = 3;
/** How long an outage keeps us from offering; then the next payment is the trial. */
const PAUSE_MS = 15_000;

export function createHealth(clock: Clock): Health {
  let failures = 0;
  let failedAt = 0;
  return {
    note(outcome) {
      failures = outcome === 'answered' ? 0 : failures + 1;
      if (outcome === 'failed') failedAt = clock.now().getTime();
    },
    isUp: () => failures < FAILURES_MAX || clock.now().getTime() - failedAt > PAUSE_MS,
  };
}
