import { setMaxListeners } from 'node:events';

const SHARED_MS = 1_000;

/**
 * Signals that abort after `ms`, and up to a second later: all that is asked for within a second is one signal
 * with one timer. A signal of its own for each request is memory for as long as it runs, and strangers make
 * requests.
 */
export function createSharedTimeout(ms: number): () => AbortSignal {
  let current: AbortSignal | undefined;
  let sharedUntil = 0;
  return () => {
    const now = performance.now();
    if (current === undefined || now >= sharedUntil) {
      current = AbortSignal.timeout(ms + SHARED_MS);
      // Any number of requests may listen to it; without this Node warns of the eleventh.
      setMaxListeners(0, current);
      sharedUntil = now + SHARED_MS;
    }
    return current;
  };
}
