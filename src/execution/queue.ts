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
  /** Throws `Problem('unavailable')` when too many wait already, or when the wait was too long. */
  enter(signal: AbortSignal): Promise<Admission>;
  /** Turns away who waits and whoever comes. */
  close(): void;
};

/** Long enough for a burst, short enough that a caller is better served by a 503 than by more waiting. */
const WAIT_MS_MAX = 10_000;

/** First come, first served, with bounds on how many run, how many wait and how long. */
export function createQueue({ concurrencyMax, queueMax }: QueueBounds): Queue {
  const waiting = new Set<Waiter>();
  let inside = 0;
  let isClosed = false;

  const admit = (): Admission => {
    inside += 1;
    let isInside = true;
    return {
      kind: 'entered',
      leave: () => {
        if (!isInside) return;
        isInside = false;
        inside -= 1;
        const [next] = waiting;
        if (next !== undefined) next.admit();
      },
    };
  };
  return {
    enter(signal) {
      if (isClosed) return Promise.reject(busy('The gateway is shutting down.'));
      if (signal.aborted) return Promise.resolve({ kind: 'cancelled' });
      if (inside < concurrencyMax) return Promise.resolve(admit());
      if (waiting.size >= queueMax) return Promise.reject(busy('Too many calls are running already.'));
      return new Promise((resolve, reject) => {
        const waiter = createWaiter(signal, {
          admitted: () => resolve(admit()),
          cancelled: () => resolve({ kind: 'cancelled' }),
          rejected: reject,
          left: () => waiting.delete(waiter),
        });
        waiting.add(waiter);
      });
    },
    close() {
      isClosed = true;
      for (const waiter of waiting) waiter.reject(busy('The gateway is shutting down.'));
    },
  };
}

type Waiter = { admit(): void; reject(problem: Problem): void };

type WaiterEvents = {
  admitted(): void;
  cancelled(): void;
  rejected(problem: Problem): void;
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
  const reject = (problem: Problem) => leave(() => events.rejected(problem));
  const timer = setTimeout(() => reject(busy('The wait for a free place was too long.')), WAIT_MS_MAX);
  signal.addEventListener('abort', cancel, { once: true });
  return { admit: () => leave(events.admitted), reject };
}

function busy(detail: string): Problem {
  return new Problem('unavailable', { detail, retryAfterSeconds: 1, isUncharged: true });
}
