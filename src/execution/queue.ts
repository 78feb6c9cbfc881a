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
  /**
   * Throws `Problem('unavailable')` when too many wait already, or when the wait would be or was too long. `publisher`
   * is whose server is to run: one may not have all places, however slow its servers are.
   */
  enter(signal: AbortSignal, publisher?: string): Promise<Admission>;
  /** What `enter` would throw at once; undefined when it would let in or wait. */
  findRefusal(publisher?: string): Problem | undefined;
  /** How many are inside. */
  inside(): number;
  /** How many wait, and how often it was said so far that there is no place. */
  outside(): { waiting: number; turnedAway: number };
  /** Turns away who waits and whoever comes. */
  close(): void;
};

/** Long enough for a burst, short enough that a caller is better served by a 503 than by more waiting. */
const WAIT_MS_MAX = 10_000;
const RETRY_SECONDS_MAX = 30;

/**
 * First come, first served among the servers of one publisher, and publishers by turns, with bounds on how many run,
 * how many wait and how long. Whoever would wait too long is told so at once, as far as the last stays foretell it.
 */
export function createQueue({ concurrencyMax, queueMax, clock }: QueueBounds & { clock: Clock }): Queue {
  const waiting = new Set<Waiter>();
  const shares = createShares(concurrencyMax);
  let [inside, turnedAway] = [0, 0];
  let isClosed = false;

  const admit = (share: Share): Admission => {
    inside += 1;
    share.inside += 1;
    const enteredAt = clock.now().getTime();
    let isInside = true;
    return {
      kind: 'entered',
      leave: () => {
        if (!isInside) return;
        isInside = false;
        inside -= 1;
        share.inside -= 1;
        share.stays.add(clock.now().getTime() - enteredAt);
        findNext(waiting)?.admit();
      },
    };
  };
  const refuse = (share: Share, detail: string) => {
    turnedAway += 1;
    const seconds = Math.ceil(shares.expectedWaitMs(share) / 1000);
    return busy(detail, Math.min(RETRY_SECONDS_MAX, Math.max(1, seconds)));
  };
  const isFree = (share: Share) => inside < concurrencyMax && share.inside < share.insideMax;
  const findRefusal = (share: Share): Problem | undefined => {
    if (isClosed) return busy(CLOSING);
    if (isFree(share)) return undefined;
    if (waiting.size >= queueMax && !findLast(waiting, share)) return refuse(share, FULL);
    if (shares.expectedWaitMs(share) > WAIT_MS_MAX)
      return refuse(share, 'The wait for a free place would be too long.');
    return undefined;
  };
  return {
    enter(signal, publisher) {
      if (signal.aborted && !isClosed) return Promise.resolve({ kind: 'cancelled' });
      const share = shares.of(publisher);
      const refusal = findRefusal(share);
      if (refusal) return Promise.reject(refusal);
      if (isFree(share)) return Promise.resolve(admit(share));
      const last = waiting.size >= queueMax ? findLast(waiting, share) : undefined;
      last?.reject(refuse(last.share, FULL));
      return new Promise((resolve, reject) => {
        const waiter = createWaiter(signal, share, {
          admitted: () => resolve(admit(share)),
          cancelled: () => resolve({ kind: 'cancelled' }),
          rejected: reject,
          late: () => reject(refuse(share, 'The wait for a free place was too long.')),
          left: () => {
            waiting.delete(waiter);
            share.waiting -= 1;
          },
        });
        waiting.add(waiter);
        share.waiting += 1;
      });
    },
    findRefusal: (publisher) => findRefusal(shares.of(publisher)),
    inside: () => inside,
    outside: () => ({ waiting: waiting.size, turnedAway }),
    close() {
      isClosed = true;
      for (const waiter of waiting) waiter.reject(busy(CLOSING));
    },
  };
}

/** What one publisher has of the places. */
type Share = { inside: number; insideMax: number; waiting: number; stays: Average };

const SHARES_MAX = 1000;

function createShares(concurrencyMax: number) {
  const shares = new Map<string | undefined, Share>();
  return {
    of(publisher: string | undefined): Share {
      const known = shares.get(publisher);
      if (known !== undefined) return known;
      const idle = [...shares].find(([, { inside, waiting }]) => inside + waiting === 0);
      if (shares.size >= SHARES_MAX && idle !== undefined) shares.delete(idle[0]);
      // A quarter of the places is for everyone else.
      const insideMax = concurrencyMax - (publisher === undefined ? 0 : Math.floor(concurrencyMax / 4));
      const share = { inside: 0, insideMax, waiting: 0, stays: createAverage() };
      shares.set(publisher, share);
      return share;
    },
    /** By turns, everyone who may have another place has as many calls before this one as it waits with itself. */
    expectedWaitMs(own: Share): number {
      const turns = own.waiting + 1;
      let ms = turns * own.stays.value();
      for (const share of shares.values()) {
        if (share === own || share.waiting === 0 || share.inside >= share.insideMax) continue;
        ms += Math.min(share.waiting, turns) * share.stays.value();
      }
      return ms / concurrencyMax;
    },
  };
}

/** Of those whose publisher may have another place, the first of the one that has the fewest. */
function findNext(waiting: ReadonlySet<Waiter>): Waiter | undefined {
  let next: Waiter | undefined;
  for (const waiter of waiting) {
    const { share } = waiter;
    if (share.inside < share.insideMax && share.inside < (next?.share.inside ?? Infinity)) next = waiter;
  }
  return next;
}

/** A full queue makes room for a publisher that waits less than the one that waits most: whom it turns away for it. */
function findLast(waiting: ReadonlySet<Waiter>, share: Share): Waiter | undefined {
  let last: Waiter | undefined;
  for (const waiter of waiting) if (waiter.share.waiting >= (last?.share.waiting ?? 0)) last = waiter;
  return last !== undefined && last.share.waiting > share.waiting + 1 ? last : undefined;
}

type Waiter = { share: Share; admit(): void; reject(problem: Problem): void };

type WaiterEvents = {
  admitted(): void;
  cancelled(): void;
  rejected(problem: Problem): void;
  late(): void;
  /** Comes before any of the others. */
  left(): void;
};

function createWaiter(signal: AbortSignal, share: Share, events: WaiterEvents): Waiter {
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
    share,
    admit: () => leave(events.admitted),
    reject: (problem) => leave(() => events.rejected(problem)),
  };
}

type Average = { add(value: number): void; value(): number };

/** The mean of what was added, the last ones above all; one stray value moves it little. */
function createAverage(): Average {
  let mean = 0;
  return {
    add: (value) => {
      mean += (Math.min(value, 4 * mean + 1000) - mean) / 8;
    },
    value: () => mean,
  };
}

const FULL = 'Too many calls are running already.';
const CLOSING = 'The gateway is shutting down.';

function busy(detail: string, retryAfterSeconds = 1): Problem {
  const problem = new Problem('unavailable', { detail, retryAfterSeconds, isUncharged: true });
  turnedAway.add(problem);
  return problem;
}

const turnedAway = new WeakSet<object>();

/** Whether a problem says only that there is no place now: nobody's fault, and such come by the thousand. */
export function isTurnedAway(cause: unknown): boolean {
  return cause instanceof Problem && turnedAway.has(cause);
}
