import type { Clock } from '../core/clock.ts';
import { Problem } from '../core/problem.ts';

export type QueueBounds = {
  /** How many may be inside at once. */
  concurrencyMax: number;
  /** How many may wait outside; one more is turned away. */
  queueMax: number;
};

export type Admission =
  /** `leave` must be called exactly when the work and all its traces are gone. */
  { kind: 'entered'; leave: () => void } | { kind: 'cancelled' };

export type Queue = {
  /** Throws `Problem('unavailable')` when too many wait already, or when the wait would be or was too long. */
  enter(signal: AbortSignal): Promise<Admission>;
  /** How many are inside. */
  inside(): number;
  /** Turns away who waits and whoever comes. */
  close(): void;
};

/** Long enough for a burst, short enough that a caller is better served by a 503 than by more waiting. */
const WAIT_MS_MAX = 10_000;
const RETRY_SECONDS_MAX = 30;

/**
 * First come, first served, with bounds on how many run, how many wait and how long. Whoever would wait too long
 * is told so at once, as far as the last stays inside foretell it.
 */
export function createQueue({ concurrencyMax, queueMax, clock }: QueueBounds & { clock: Clock }): Queue {
  const waiting = new Set<Waiter>();
  const stays = createAverage();
  let inside = 0;
  let isClosed = false;

  const admit = (): Admission => {
    inside += 1;
    const enteredAt = clock.now().getTime();
    let isInside = true;
    return {
      kind: 'entered',
      leave: () => {
        if (!isInside) return;
        isInside = false;
        inside -= 1;
        stays.add(clock.now().getTime() - enteredAt);
        const [next] = waiting;
        if (next !== undefined) next.admit();
      },
    };
  };
  const expectedWaitMs = () => ((waiting.size + 1) * stays.value()) / concurrencyMax;
  const refuse = (detail: string) => {
    const seconds = Math.ceil(expectedWaitMs() / 1000);
    return busy(detail, Math.min(RETRY_SECONDS_MAX, Math.max(1, seconds)));
  };
  return {
    enter(signal) {
      if (isClosed) return Promise.reject(busy(CLOSING));
      if (signal.aborted) return Promise.resolve({ kind: 'cancelled' });
      if (inside < concurrencyMax) return Promise.resolve(admit());
      if (waiting.size >= queueMax) return Promise.reject(refuse('Too many calls are running already.'));
      if (expectedWaitMs() > WAIT_MS_MAX)
        return Promise.reject(refuse('The wait for a free place would be too long.'));
      return new Promise((resolve, reject) => {
        const waiter = createWaiter(signal, {
          admitted: () => resolve(admit()),
          cancelled: () => resolve({ kind: 'cancelled' }),
          rejected: reject,
          late: () => reject(refuse('The wait for a free place was too long.')),
          left: () => waiting.delete(waiter),
        });
        waiting.add(waiter);
      });
    },
    inside: () => inside,
    close() {
      isClosed = true;
      for (const waiter of waiting) waiter.reject(busy(CLOSING));
    },
  };
}

type Waiter = { admit(): void; reject(problem: Problem): void };

type WaiterEvents = {
  admitted(): void;
  cancelled(): void;
  rejected(problem: Problem): void;
  late(): void;
  /** Comes before any of the others. */
  left(): void;
};

function createWaiter(signal: AbortSignal, events: WaiterEvents): Waiter {
  const leave = (then: () => void) => {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
    events.left();
    then();
  };
  const cancel = () => leave(events.cancelled);
  const timer = setTimeout(() => leave(events.late), WAIT_MS_MAX);
  signal.addEventListener('abort', cancel, { once: true });
  return {
    admit: () => leave(events.admitted),
    reject: (problem) => leave(() => events.rejected(problem)),
  };
}

/** The mean of what was added, the last ones above all; one stray value moves it little. */
function createAverage(): { add(value: number): void; value(): number } {
  let mean = 0;
  return {
    add: (value) => {
      mean += (Math.min(value, 4 * mean + 1000) - mean) / 8;
    },
    value: () => mean,
  };
}

const CLOSING = 'The gateway is shutting down.';

function busy(detail: string, retryAfterSeconds = 1): Problem {
  return new Problem('unavailable', { detail, retryAfterSeconds, isUncharged: true });
}
