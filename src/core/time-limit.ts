import { setMaxListeners } from 'node:events';

/**
 * A signal that aborts with `signal`, and after `ms` by itself. `AbortSignal.any` with `AbortSignal.timeout` says
 * the same and does not keep it: in Node 20 a garbage collection takes the timer away, and what was to be bounded
 * waits for good. Here the timer holds what it aborts.
 */
export function timeLimit(signal: AbortSignal, ms: number): AbortSignal {
  const controller = new AbortController();
  if (signal.aborted) {
    controller.abort(signal.reason);
    return controller.signal;
  }
  const follow = () => {
    clearTimeout(timer);
    controller.abort(signal.reason);
  };
  const timer = setTimeout(() => {
    signal.removeEventListener('abort', follow);
    controller.abort(new DOMException(`Nothing came within ${ms} ms.`, 'TimeoutError'));
  }, ms);
  timer.unref();
  // A signal of the whole process bounds any number of things at once.
  setMaxListeners(0, signal);
  signal.addEventListener('abort', follow, { once: true });
  return controller.signal;
}
