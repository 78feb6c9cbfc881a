import type { Ctx } from '../env.ts';
import type { JsonObject } from './json-rpc.ts';

/** What goes to the client as server-sent events, in order. */
export type EventStream = {
  response: Response;
  send(message: JsonObject): void;
  /** Sends the last message and ends the stream once it was read. */
  end(message: JsonObject): void;
};

/** What may wait for a reader beside the last message, which is bounded by what a tool may write. */
const WAITING_BYTES_MAX = 1024 * 1024;
/** A reader that takes nothing for this long is gone, or wants our memory. */
const STALL_MS = 30_000;
/** The answer itself may be large, and its reader slow. */
const LAST_STALL_MS = 120_000;
const KEEP_ALIVE_MS = 15_000;
const KEEP_ALIVE = Buffer.from(': waiting\n\n');

/** A `text/event-stream` (MCP, "Streamable HTTP"). Events carry no ids: a stream that broke cannot be resumed. */
export function openEventStream(c: Ctx): EventStream {
  const queue: Uint8Array[] = [];
  let waitingBytes = 0;
  let state: 'open' | 'ending' | 'closed' = 'open';
  let wake: (() => void) | undefined;
  let stall: NodeJS.Timeout | undefined;

  const close = () => {
    state = 'closed';
    clearTimeout(stall);
    clearInterval(keepAlive);
    queue.length = 0;
    wake?.();
  };
  const cutOff = () => {
    close();
    c.env?.outgoing?.destroy();
  };
  const push = (bytes: Uint8Array) => {
    queue.push(bytes);
    waitingBytes += bytes.length;
    stall ??= setTimeout(cutOff, STALL_MS).unref();
    wake?.();
  };
  const keepAlive = setInterval(() => {
    if (state === 'open' && queue.length === 0) push(KEEP_ALIVE);
  }, KEEP_ALIVE_MS).unref();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        while (queue.length === 0 && state === 'open') {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        const bytes = queue.shift();
        clearTimeout(stall);
        if (bytes === undefined) {
          if (state !== 'closed') close();
          controller.close();
          return;
        }
        // Nobody pulls again before what was pulled is on its way; after the last message that is the end.
        const isLast = state === 'ending' && queue.length === 0;
        if (isLast) stall = setTimeout(cutOff, LAST_STALL_MS).unref();
        else stall = queue.length === 0 ? undefined : setTimeout(cutOff, STALL_MS).unref();
        waitingBytes -= bytes.length;
        controller.enqueue(bytes);
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  );
  return {
    response: new Response(body, { status: 200, headers: HEADERS }),
    send(message) {
      if (state !== 'open') return;
      const bytes = spellEvent(message);
      if (waitingBytes + bytes.length > WAITING_BYTES_MAX) cutOff();
      else push(bytes);
    },
    end(message) {
      if (state !== 'open') return;
      state = 'ending';
      clearInterval(keepAlive);
      push(spellEvent(message));
    },
  };
}

const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store, no-transform',
  // Proxies that gather an answer before they hand it on would hold back what is said on the way.
  'x-accel-buffering': 'no',
};

/** JSON has no line breaks of its own, so one message is one line of data. */
function spellEvent(message: JsonObject): Uint8Array {
  return Buffer.from(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
}
