/**
 * What `fetch` answers, or the signal's reason once it aborts. `fetch` itself follows its signal through a weak
 * reference: in Node 20 a garbage collection cuts it, and a server that keeps silent is then waited for for good.
 */
export function settleBy<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** The whole body of an answer; rejects when it is longer than that, or not there when the signal aborts. */
export async function readBounded(
  response: Response,
  { bytesMax, signal }: { bytesMax: number; signal: AbortSignal },
): Promise<Buffer> {
  const reader = response.body?.getReader();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    while (reader) {
      const { done, value } = await settleBy(signal, reader.read());
      if (done) break;
      bytes += value.length;
      if (bytes > bytesMax) throw new Error(`more than ${bytesMax} bytes`);
      chunks.push(value);
    }
  } catch (cause) {
    // Nobody waits for the rest, nor for the connection to be given up.
    reader?.cancel(cause).catch(() => {});
    throw cause;
  }
  return Buffer.concat(chunks);
}
