import type { ServerEvents } from './exchange.ts';
import { isObject, type JsonObject } from './json-lines.ts';
import { INTERNAL_ERROR, METHOD_NOT_FOUND, type RequestId, type ServerRequest } from './json-rpc.ts';

/** Answers what a server asks of its client. */
export type ServerRequests = {
  /** Why the server may not ask this; undefined when it is or will be answered. */
  answer(request: ServerRequest): string | undefined;
  /** The server no longer wants to know. */
  cancel(id: RequestId): void;
  /** Nobody waits for any answer any more. */
  close(): void;
};

/** A server that asks more than this while it answers one request is not serious. */
const SERVER_REQUESTS_MAX = 64;

/** What a client must have declared before it may be asked (MCP 2025-11-25, "Client Features"). */
const CAPABILITY_OF = new Map([
  ['sampling/createMessage', 'sampling'],
  ['elicitation/create', 'elicitation'],
  ['roots/list', 'roots'],
]);

/** `capabilities` are those that the server was told. */
export function createServerRequests(
  send: (message: JsonObject) => void,
  { events, capabilities }: { events: ServerEvents | undefined; capabilities: JsonObject },
): ServerRequests {
  const asked = new Map<RequestId, AbortController>();
  let count = 0;

  const ask = async (request: ServerRequest, ask: NonNullable<ServerEvents['ask']>) => {
    const { id, method, params } = request;
    const asking = new AbortController();
    asked.set(id, asking);
    // Whoever asks for us failed, and not the server: it is told no more than that.
    const answer = await ask({ method, params }, asking.signal).catch(() => ({
      error: { code: INTERNAL_ERROR, message: 'the client could not be asked' },
    }));
    // An answer to a question that was withdrawn would be one that nobody asked for.
    if (asked.delete(id) && !asking.signal.aborted) send({ id, ...answer });
  };
  return {
    answer(request) {
      count += 1;
      if (count > SERVER_REQUESTS_MAX) return 'asks too much of us';
      const { id, method } = request;
      if (asked.has(id)) return 'asked two questions with one id';
      const capability = CAPABILITY_OF.get(method);
      if (method === 'ping') send({ id, result: {} });
      else if (events?.ask && capability !== undefined && isObject(capabilities[capability]))
        void ask(request, events.ask);
      else
        send({
          id,
          error: { code: METHOD_NOT_FOUND, message: `this client does not offer ${method.slice(0, 64)}` },
        });
      return undefined;
    },
    cancel: (id) => asked.get(id)?.abort(),
    close() {
      for (const asking of asked.values()) asking.abort();
    },
  };
}
