import type { Clock } from '../../../core/clock.ts';

export type BreakerState = 'closed' | 'open' | 'half-open';

/** What came of a call that went on; `unknown` tells nothing about the endpoint. */
export type Reached = 'reached' | 'unreachable' | 'unknown';

/** Keeps calls from an endpoint that is not there: they would only wait for it. */
export type Breaker = {
  /** Whether a call may go on, and must then report; else how long to wait. */
  enter(): { kind: 'go'; report(what: Reached): void } | { kind: 'wait'; seconds: number };
  /** How long a call would have to wait now; undefined when it may go on. */
  waitSeconds(): number | undefined;
  state(): { state: BreakerState; failures: number; retryAt: Date | undefined };
};

const FAILURES_MAX = 5;
const FIRST_PAUSE_MS = 10_000;
const PAUSE_MS_MAX = 5 * 60_000;

/**
 * Opens after five failures to reach the endpoint in a row, and then lets one call at a time try; each that fails
 * doubles the pause, up to five minutes. Only reachability counts: no caller can close a tool to the others by
 * making it fail.
 */
export function createBreaker(clock: Clock): Breaker {
  let failures = 0;
  let pauseMs = FIRST_PAUSE_MS;
  let retryAt: number | undefined;
  let isProbing = false;
  const close = () => {
    failures = 0;
    pauseMs = FIRST_PAUSE_MS;
    retryAt = undefined;
  };
  const open = () => {
    retryAt = clock.now().getTime() + pauseMs;
    pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
  };
  const call = {
    kind: 'go' as const,
    report(what: Reached) {
      if (what === 'reached') close();
      if (what !== 'unreachable') return;
      failures += 1;
      // Of the calls that were under way when it opened, none makes the pause longer.
      if (failures >= FAILURES_MAX && retryAt === undefined) open();
    },
  };
  const probe = {
    kind: 'go' as const,
    report(what: Reached) {
      isProbing = false;
      if (what === 'reached') close();
      if (what === 'unreachable') open();
    },
  };
  const waitSeconds = () => {
    if (retryAt === undefined) return undefined;
    const leftMs = retryAt - clock.now().getTime();
    if (leftMs > 0) return Math.ceil(leftMs / 1000);
    return isProbing ? 1 : undefined;
  };
  return {
    enter() {
      if (retryAt === undefined) return call;
      const seconds = waitSeconds();
      if (seconds !== undefined) return { kind: 'wait', seconds };
      isProbing = true;
      return probe;
    },
    waitSeconds,
    state() {
      if (retryAt === undefined) return { state: 'closed', failures, retryAt: undefined };
      const isDue = retryAt <= clock.now().getTime();
      return { state: isDue ? 'half-open' : 'open', failures, retryAt: new Date(retryAt) };
    },
  };
}
