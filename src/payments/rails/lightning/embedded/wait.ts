import type { LightningNode } from './node.ts';

/** Asks now and after every commit until there is an answer; rejects when `signal` aborts. */
export function waitForCommit<T>(
  node: LightningNode,
  ask: () => T | undefined,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let stop = () => {};
    const onAbort = () => {
      stop();
      reject(signal.reason);
    };
    const look = () => {
      const answer = ask();
      if (answer === undefined) return;
      stop();
      signal.removeEventListener('abort', onAbort);
      resolve(answer);
    };
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    stop = node.onCommit(look);
    signal.addEventListener('abort', onAbort, { once: true });
    look();
  });
}
