import type { InvoiceChange } from '../provider.ts';

export type ChangeQueue = {
  /** Told in order, one after another; resolves when it was. */
  push(change: InvoiceChange): Promise<void>;
  /** Rejects with the first thing a listener threw, and never resolves. */
  failed: Promise<never>;
  idle(): Promise<void>;
};

/** Brings changes from several streams into one order. After a failure nothing more is told. */
export function createChangeQueue(onChange: (change: InvoiceChange) => Promise<void>): ChangeQueue {
  let isBroken = false;
  let last: Promise<void> = Promise.resolve();
  const { promise: failed, reject } = withReject();
  // Nobody may be waiting for it any more.
  failed.catch(() => {});
  return {
    push(change) {
      last = last.then(async () => {
        if (isBroken) return;
        try {
          await onChange(change);
        } catch (cause) {
          isBroken = true;
          reject(cause);
        }
      });
      return last;
    },
    failed,
    idle: () => last,
  };
}

function withReject(): { promise: Promise<never>; reject: (cause: unknown) => void } {
  let reject: (cause: unknown) => void = () => {};
  const promise = new Promise<never>((_resolve, rejectPromise) => {
    reject = rejectPromise;
  });
  return { promise, reject };
}
