import type { Clock } from '../../../core/clock.ts';

export type Attempt<T> = { kind: 'ready'; value: T } | { kind: 'unavailable'; detail: string };

export type Readiness<T> = {
  /** The last success; else a new attempt, though not more often than every few seconds. */
  get(): Promise<Attempt<T>>;
  /** Something went wrong that should not have: makes the next `get` look again. */
  doubt(): void;
  /** Waits until no attempt is running. */
  settle(): Promise<void>;
};

const RETRY_MS = 3_000;

/** Remembers that something works, and looks again when it did not. */
export function createReadiness<T>(attempt: () => Promise<Attempt<T>>, clock: Clock): Readiness<T> {
  let last: { result: Attempt<T>; at: number } | undefined;
  let running: Promise<Attempt<T>> | undefined;
  let isDoubted = false;

  const tryNow = async (): Promise<Attempt<T>> => {
    isDoubted = false;
    const result = await attempt();
    last = { result, at: clock.now().getTime() };
    return result;
  };
  return {
    async get() {
      const isFresh = last !== undefined && clock.now().getTime() - last.at < RETRY_MS;
      if (last !== undefined && (isFresh || (last.result.kind === 'ready' && !isDoubted))) return last.result;
      running ??= tryNow().finally(() => {
        running = undefined;
      });
      return running;
    },
    doubt() {
      isDoubted = true;
    },
    async settle() {
      await running;
    },
  };
}
