import { Problem } from '../../core/problem.ts';

export type SharedWork<T> = {
  /** The same key at the same time is done once; it goes on as long as anybody waits for it. */
  run(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
};

type Job<T> = { result: Promise<T>; waiters: number; abandoned: AbortController };

const RETRY_AFTER_SECONDS = 30;

/** Long work for many callers, a few at a time. */
export function createSharedWork<T>(bounds: { atOnceMax: number; waitingMax: number }): SharedWork<T> {
  const jobs = new Map<string, Job<T>>();
  const queue: (() => void)[] = [];
  let running = 0;

  const takeTurn = async (signal: AbortSignal): Promise<void> => {
    if (running >= bounds.atOnceMax) await new Promise<void>((resolve) => queue.push(resolve));
    else running += 1;
    // Abandoned while it waited: the turn is given back below.
    signal.throwIfAborted();
  };
  const passTurn = () => {
    const next = queue.shift();
    if (next === undefined) running -= 1;
    else next();
  };
  const start = (key: string, work: (signal: AbortSignal) => Promise<T>): Job<T> => {
    if (queue.length >= bounds.waitingMax) throw tooMany();
    const abandoned = new AbortController();
    const result = (async () => {
      try {
        await takeTurn(abandoned.signal);
        return await work(abandoned.signal);
      } finally {
        passTurn();
        jobs.delete(key);
      }
    })();
    const job = { result, waiters: 0, abandoned };
    jobs.set(key, job);
    return job;
  };
  return {
    async run(key, signal, work) {
      signal.throwIfAborted();
      const there = jobs.get(key);
      // One that its last caller has just left is on its way out; whoever comes now starts anew after it.
      if (there?.abandoned.signal.aborted) {
        await there.result.catch(() => {});
        return this.run(key, signal, work);
      }
      const job = there ?? start(key, work);
      job.waiters += 1;
      try {
        return await orAbort(job.result, signal);
      } finally {
        job.waiters -= 1;
        if (job.waiters === 0)
          job.abandoned.abort(signal.reason ?? new DOMException('Nobody waits.', 'AbortError'));
      }
    },
  };
}

function tooMany(): Problem {
  return new Problem('unavailable', {
    detail: 'Too many dependencies are being installed right now.',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  });
}

function orAbort<T>(value: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    void value.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
