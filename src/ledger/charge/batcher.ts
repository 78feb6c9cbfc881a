import { InvariantError } from '../../core/invariant.ts';
import { Problem } from '../../core/problem.ts';
import { createLinger } from './linger.ts';

export type Batcher<Item, Result> = {
  /** Resolves once the item's batch is committed, or the last of them where its result was not final. */
  push(item: Item): Promise<Result>;
  /** Resolves when nothing is queued or in flight. */
  drain(): Promise<void>;
};

export type BatcherOptions<Item, Found, Result extends Found> = {
  /** Commits a batch and answers one result for each item, in order. */
  flush(items: readonly Item[]): Promise<readonly Found[]>;
  /** An item whose result is not joins the next batch; each is where this is left out. */
  isFinal?(found: Found): found is Result;
  batchMax: number;
  queueMax: number;
};

type Waiting<Item, Result> = { item: Item; resolve(result: Result): void; reject(cause: unknown): void };

/** One is being committed while the other is read and written here; a third would only wait behind them. */
const IN_FLIGHT_MAX = 2;
/** How many have to wait before a second batch is worth its fixed cost. */
const SECOND_MIN = 128;

/**
 * Collects what arrives while the previous batch is on its way, and sends it as the next one: an idle gateway
 * commits at once and a busy one commits many together. When many wait they are cut in two, so that neither this
 * process nor the database idles while the other works. When few do, those who were just answered are given a
 * moment to ask again: else callers part into two groups that wait for each other, in twice as many batches.
 */
export function createBatcher<Item, Found, Result extends Found = Found>(
  options: BatcherOptions<Item, Found, Result>,
): Batcher<Item, Result> {
  let queue: Waiting<Item, Result>[] = [];
  const inFlight = new Set<Promise<void>>();
  let isWoken = false;
  const linger = createLinger({ waiting: () => queue.length, wake });

  /** One turn of the event loop lets every request that was already readable join the batch. */
  function wake(): void {
    if (isWoken) return;
    isWoken = true;
    setImmediate(() => {
      isWoken = false;
      if (linger.isOver()) send();
    });
  }

  function send(): void {
    while (queue.length > (inFlight.size === 0 ? 0 : SECOND_MIN - 1) && inFlight.size < IN_FLIGHT_MAX) {
      const isCut = inFlight.size === 0 && queue.length >= 2 * SECOND_MIN;
      const count = Math.min(isCut ? Math.ceil(queue.length / 2) : queue.length, options.batchMax);
      const batch = queue.slice(0, count);
      queue = queue.slice(count);
      const sent = settle(batch).then((callers) => {
        inFlight.delete(sent);
        if (inFlight.size === 0) linger.begin(Math.min(callers, SECOND_MIN));
        if (queue.length > 0) wake();
      });
      inFlight.add(sent);
    }
  }

  /** How many there were when the batch was done, its own callers and those who waited for the next. */
  async function settle(batch: Waiting<Item, Result>[]): Promise<number> {
    const results = await orFailure(() => options.flush(batch.map((waiting) => waiting.item)));
    // Before they are told: from then on they are among those who wait.
    const callers = batch.length + queue.length;
    batch.forEach((waiting, index) => {
      if ('cause' in results) waiting.reject(results.cause);
      else tell(waiting, results[index]);
    });
    return callers;
  }

  function tell(waiting: Waiting<Item, Result>, found: Found | undefined): void {
    if (found === undefined) waiting.reject(new InvariantError('a batch has a result for each of its items'));
    else if (!options.isFinal || options.isFinal(found)) waiting.resolve(found as Result);
    else queue.push(waiting);
  }

  return {
    push(item) {
      if (queue.length >= options.queueMax) return Promise.reject(tooMany());
      return new Promise<Result>((resolve, reject) => {
        queue.push({ item, resolve, reject });
        wake();
      });
    },
    async drain() {
      while (queue.length > 0 || inFlight.size > 0) {
        await (inFlight.size > 0 ? Promise.race(inFlight) : new Promise((resolve) => setImmediate(resolve)));
      }
    },
  };
}

async function orFailure<Result>(run: () => Promise<Result>): Promise<Result | { cause: unknown }> {
  try {
    return await run();
  } catch (cause) {
    return { cause };
  }
}

function tooMany(): Problem {
  return new Problem('unavailable', {
    detail: 'More calls are waiting to be charged than this gateway takes. Try again in a second.',
    retryAfterSeconds: 1,
    isUncharged: true,
  });
}
