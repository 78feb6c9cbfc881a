/** Places that are taken and given back; nobody waits for one. */
export type Slots = {
  /** What gives the place back, once however often it is called; undefined when all are taken. */
  take(): (() => void) | undefined;
};

export function createSlots(max: number): Slots {
  let taken = 0;
  return {
    take() {
      if (taken >= max) return undefined;
      taken += 1;
      let isGiven = false;
      return () => {
        if (!isGiven) taken -= 1;
        isGiven = true;
      };
    },
  };
}

/**
 * A body that is read as fast as its reader takes it, one part at a time. It ends within the time given, with an
 * error if need be, and `onEnd` is called however it ends: a reader that stalls holds its place no longer.
 */
export function streamParts(
  parts: AsyncIterator<Uint8Array>,
  { timeoutMs, onEnd }: { timeoutMs: number; onEnd(): void },
): ReadableStream<Uint8Array> {
  let timer: NodeJS.Timeout | undefined;
  const end = () => {
    clearTimeout(timer);
    onEnd();
  };
  return new ReadableStream(
    {
      start(controller) {
        timer = setTimeout(() => {
          controller.error(new Error('the download took too long'));
          end();
        }, timeoutMs).unref();
      },
      async pull(controller) {
        try {
          const part = await parts.next();
          if (!part.done) return controller.enqueue(part.value);
          end();
          controller.close();
        } catch (error) {
          end();
          throw error;
        }
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
}
