import { setMaxListeners } from 'node:events';

/** Why a call ends before its answer. */
export type LeashEnd = { reason: 'timeout' | 'cancelled'; detail: string };

/** The one deadline of a call, and its caller's leave to stop it. */
export type Leash = {
  ended(): LeashEnd | undefined;
  /** Calls back once when it ends, at once when it has; what it answers takes that back. */
  onEnd(callback: (end: LeashEnd) => void): () => void;
  release(): void;
};

/** A leash holds its own timer: one timer and one listener for all that a call does. */
export function createLeash(signal: AbortSignal, ms: number): Leash {
  const callbacks = new Set<(end: LeashEnd) => void>();
  let ended: LeashEnd | undefined;
  const leash = {
    end(reason: LeashEnd['reason'], detail: string) {
      if (ended !== undefined) return;
      ended = { reason, detail };
      leash.release();
      for (const callback of [...callbacks]) callback(ended);
      callbacks.clear();
    },
    cancel() {
      leash.end('cancelled', 'The call was cancelled.');
    },
    ended() {
      return ended;
    },
    onEnd(callback: (end: LeashEnd) => void) {
      if (ended === undefined) callbacks.add(callback);
      else callback(ended);
      return () => callbacks.delete(callback);
    },
    release() {
      clearTimeout(timer);
      signal.removeEventListener('abort', leash.cancel);
    },
  };
  const timer = setTimeout(() => leash.end('timeout', `The server did not answer within ${ms} ms.`), ms);
  // A signal of the whole process bounds any number of calls at once.
  setMaxListeners(0, signal);
  signal.addEventListener('abort', leash.cancel, { once: true });
  if (signal.aborted) leash.cancel();
  return leash;
}
