import { setMaxListeners } from 'node:events';
import type { LogLevel, ServerEvents } from '../../execution/index.ts';
import type { Asks } from './asks.ts';
import type { Client } from './era.ts';
import { isObject, type JsonObject, type RpcError } from './json-rpc.ts';
import { isLoggedAt } from './log-levels.ts';
import type { Sink } from './reply.ts';

export type ClientEventsInput = {
  client: Client;
  sink: Sink;
  asks: Asks;
  /** What the client calls the progress of its request; undefined when it wants none told. */
  progressToken: string | number | undefined;
  /** What the client wants to read of the server's log; undefined when it did not say. */
  logLevel: LogLevel | undefined;
  /** Ends with the request. */
  over: AbortSignal;
};

/** What a server may say to a client while its request runs, and what it may ask of it. */
export function createClientEvents(input: ClientEventsInput): ServerEvents {
  const { client, sink, asks, over } = input;
  const events: ServerEvents = {
    notify({ method, params }) {
      if (isWanted(input, method, params)) sink.send({ jsonrpc: '2.0', method, params });
    },
  };
  // The stateless era has no requests to clients: what a server needs is the result of its call there.
  if (client.era === '2026' || !sink.canStream) return events;
  setMaxListeners(ASKS_MAX + 1, over);
  let left = ASKS_MAX;
  return {
    ...events,
    async ask(question, signal) {
      const why = refuseAsk(client, question);
      if (why) return { error: why };
      left -= 1;
      if (left < 0) return { error: { code: -32000, message: 'The server asks too much of its client.' } };
      const ending = new AbortController();
      const end = () => ending.abort();
      const ends = [signal, over];
      for (const one of ends) one.addEventListener('abort', end, { once: true });
      if (ends.some(({ aborted }) => aborted)) end();
      try {
        return await asks.ask(question, sink.send, ending.signal);
      } finally {
        for (const one of ends) one.removeEventListener('abort', end);
      }
    },
  };
}

/** What a client of one request is asked at most. */
const ASKS_MAX = 32;

function isWanted(
  { client, progressToken, logLevel }: ClientEventsInput,
  method: string,
  params: JsonObject,
) {
  switch (method) {
    case 'notifications/progress':
      return progressToken !== undefined && params.progressToken === progressToken;
    case 'notifications/message':
      // From 2026-07-28 on nothing is logged to who did not ask for it.
      if (logLevel === undefined) return client.era === '2025';
      return isLoggedAt(logLevel, params.level);
    case 'notifications/elicitation/complete':
      return client.era === '2025';
    default:
      return false;
  }
}

/** Only what the client declared may be asked of it (MCP 2025-11-25, "Capabilities"). */
function refuseAsk({ face }: Client, { method, params }: { method: string; params: JsonObject }) {
  const { sampling, elicitation, roots } = face.capabilities;
  switch (method) {
    case 'sampling/createMessage':
      return isObject(sampling) ? undefined : missing('sampling');
    case 'elicitation/create': {
      if (!isObject(elicitation)) return missing('elicitation');
      const isUrl = params.mode === 'url';
      // A client from before the modes had names means forms by an empty object.
      const hasForm = isObject(elicitation.form) || !isObject(elicitation.url);
      if (isUrl ? isObject(elicitation.url) : hasForm) return undefined;
      return missing(isUrl ? 'elicitation.url' : 'elicitation.form');
    }
    case 'roots/list':
      return isObject(roots) ? undefined : missing('roots');
    default:
      return { code: -32601, message: `Method not found: ${method}` };
  }
}

function missing(capability: string): RpcError {
  return { code: -32601, message: `The client does not offer ${capability}.` };
}
