import { Problem } from '../../core/problem.ts';

export type Batcher<Item, Result> = {
  /** Resolves once the item's batch is committed. */
  push(item: Item): Promise<Result>;
  /** Resolves when nothing is queued or in flight. */
  drain(): Promise<void>;
};

export type BatcherOptions<Item, Result> = {
  /** Commits a batch and answers one result for each item, in order. */
  flush(items: readonly Item[]): Promise<readonly Result[]>;
  batchMax: number;
  queueMax: number;
};

type Waiting<Item, Result> = { item: Item; resolve(result: Result): void; reject(cause: unknown): void };

/**
 * Collects what arrives while the previous batch is on its way, and sends it as the next one. One batch is in
 * flight at a time, so an idle gateway commits at once and a busy one commits many together.
 */
export function createBatcher<Item, Result>(options: BatcherOptions<Item, Result>): Batcher<Item, Result> {
  let queue: Waiting<Item, Result>[] = [];
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    // One turn of the event loop lets every request that was already readable join the batch.
    await new Promise((resolve) => setImmediate(resolve));
    while (queue.length > 0) {
      const batch = queue.slice(0, options.batchMax);
      queue = queue.slice(options.batchMax);
      await settle(batch);
    }
    running = undefined;
  }

  async function settle(batch: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await options.flush(batch.map((waiting) => waiting.item));
      batch.forEach((waiting, index) => {
        waiting.resolve(results[index] as Result);
      });
    } catch (cause) {
      for (const waiting of batch) waiting.reject(cause);
    }
  }

  return {
    push(item) {
      if (queue.length >= options.queueMax) {
        throw new Problem('unavailable', {
          detail: 'More calls are waiting to be charged than this gateway takes. Try again in a second.',
          retryAfterSeconds: 1,
          isUncharged: true,
        });
      }
      return new Promise<Result>((resolve, reject) => {
        queue.push({ item, resolve, reject });
        running ??= run();
      });
    },
    async drain() {
      while (running) await running;
    },
  };
}
