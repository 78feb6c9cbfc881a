/** Keeps a batch back for those whose batch was just done, and who may be about to ask again. */
export type Linger = {
  /** Right after a batch, when none is on its way: how many there were, its callers and those who wait. */
  begin(callers: number): void;
  /** Whether a batch may go; then nobody is waited for any more. */
  isOver(): boolean;
};

/** How long they are waited for. */
const LINGER_MS = 1;
/** How many batches are not kept back after one that nobody came for: its callers have something else to do. */
const SKIPPED = 4;

/** `waiting` counts who waits for the next batch; `wake` asks again whether it may go. */
export function createLinger({ waiting, wake }: { waiting(): number; wake(): void }): Linger {
  /** How many the next batch is kept back for; 0 when it is not. */
  let awaited = 0;
  let waitedBefore: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let toSkip = 0;

  function end(): void {
    clearTimeout(timer);
    [awaited, waitedBefore] = [0, undefined];
  }

  return {
    begin(callers) {
      if (toSkip > 0) {
        toSkip -= 1;
        return;
      }
      if (callers <= Math.max(1, waiting())) return;
      [awaited, waitedBefore] = [callers, waiting()];
      timer = setTimeout(() => {
        awaited = 0;
        if (waiting() > 0) wake();
        else end();
      }, LINGER_MS);
    },
    isOver() {
      if (waiting() < awaited) return false;
      if (waiting() === waitedBefore) toSkip = SKIPPED;
      end();
      return true;
    },
  };
}
