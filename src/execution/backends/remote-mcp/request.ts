import { setTimeout as sleep } from 'node:timers/promises';
import type { Uuid } from '../../../core/ids.ts';
import type { Log } from '../../../core/log.ts';
import type { Caller, ClientFace, LogLevel, ServerEvents } from '../../exchange.ts';
import type { JsonObject } from '../../json-lines.ts';
import { type Answer, type AskInput, ask } from './ask.ts';
import type { CallTokens } from './call-tokens.ts';
import type { Endpoint } from './endpoints.ts';
import { type Dialect, type Envelope, type OutMessage, offer, toBodiless, toPost } from './envelope.ts';
import { createLeash, type Leash } from './leash.ts';
import type { Reading } from './messages.ts';
import type { Budget } from './send.ts';

export type RequestDeps = { tokens: CallTokens; log: Log };

/** Who asks whom. */
export type Party = {
  endpoint: Endpoint;
  /** The audience of the tokens. */
  audience: Uuid;
  caller: Caller | undefined;
  /** Tells one stranger's call from another's. */
  strangerId?: string | undefined;
  client: ClientFace | undefined;
  events: ServerEvents | undefined;
  /** How much the server is asked to log. */
  logLevel?: LogLevel | undefined;
};

export type RequestInput = {
  party: Party;
  dialect: Dialect | undefined;
  request: { method: string; params: JsonObject };
  budget: Budget;
  leash: Leash;
};

/** What goes along with a call, and what nobody waits for long. */
const ASIDE_TIMEOUT_MS = 5_000;
const ASIDE_BYTES_MAX = 64 * 1024;
/** No answer is expected, and every answer is wrong. */
const NO_ID = -1;
/** More than any call may take. */
const LISTEN_MS_MAX = 120_000;
/** A server that asks more than this during one call is not serious. */
const SERVER_REQUESTS_MAX = 64;
const RESUMES_MAX = 16;
const RESUME_AFTER_MS = 1_000;
const METHOD_NOT_FOUND = -32601;
const INTERNAL_ERROR = -32603;
const NEVER = new AbortController().signal;

let lastId = 0;

/** One request and its answer, with everything that is said in between. */
export async function request(deps: RequestDeps, input: RequestInput): Promise<Answer> {
  const { party, dialect, leash, budget } = input;
  lastId += 1;
  const id = lastId;
  const answerer = createAnswerer(deps, input);
  const { method, params } = input.request;
  const exchange: AskInput = {
    pool: party.endpoint.pool(),
    request: toPost(envelope(deps, input), { id, method, params }),
    id,
    budget,
    leash,
    onNotification: party.events?.notify,
    onRequest: answerer.take,
  };
  const stopListening = isAskable(input) ? await listen(deps, input, exchange) : undefined;
  let answer = await ask(exchange);
  for (let round = 0; answer.kind === 'paused' && round < RESUMES_MAX; round += 1) {
    await rest(answer.retryMs ?? RESUME_AFTER_MS, leash);
    const get = toBodiless('GET', envelope(deps, input));
    get.headers['last-event-id'] = answer.lastEventId;
    answer = await ask({ ...exchange, request: get });
  }
  answerer.stop();
  stopListening?.();
  if (leash.ended() !== undefined && dialect?.era === 'legacy') {
    // A stateless server takes the closed connection for it (MCP 2026-07-28, "Cancellation").
    sendAside(deps, input, {
      method: 'notifications/cancelled',
      params: { requestId: id, reason: leash.ended()?.detail ?? '' },
    });
  }
  return answer;
}

/** Only in a session does a server know whom it may ask outside of a call. */
function isAskable({ party, dialect }: RequestInput): boolean {
  if (dialect?.era !== 'legacy' || dialect.sessionId === undefined || party.events?.ask === undefined)
    return false;
  return Object.keys(offer(party)).length > 0;
}

/**
 * Listens to what a server says outside of the call (MCP 2025-11-25, "Listening for Messages from the Server"):
 * many ask their client there. Resolves once it is listened, or the server has none of it.
 */
function listen(
  deps: RequestDeps,
  input: RequestInput,
  exchange: Omit<AskInput, 'request' | 'leash' | 'id'>,
): Promise<() => void> {
  const stop = new AbortController();
  const leash = createLeash(stop.signal, LISTEN_MS_MAX);
  return new Promise((resolve) => {
    const finish = () => resolve(() => stop.abort());
    const detach = input.leash.onEnd(() => stop.abort());
    ask({ ...exchange, leash, id: NO_ID, request: toBodiless('GET', envelope(deps, input)), onHead: finish })
      .then(finish, finish)
      .finally(detach);
  });
}

/** Says something that has no answer of its own; resolves when it is said or cannot be. */
export function say(
  deps: RequestDeps,
  input: Omit<RequestInput, 'request'>,
  message: OutMessage,
): Promise<Answer> {
  const post = toPost(envelope(deps, input), message);
  return askAside(input, post);
}

/** Ends a session at its server (MCP 2025-11-25, "Session Management"). */
export async function endSession(
  deps: RequestDeps,
  input: Pick<RequestInput, 'party' | 'dialect'>,
  timeoutMs: number = ASIDE_TIMEOUT_MS,
): Promise<void> {
  const leash = createLeash(NEVER, timeoutMs);
  try {
    await askAside({ ...input, leash }, toBodiless('DELETE', envelope(deps, input)));
  } finally {
    leash.release();
  }
}

function askAside(
  input: Pick<RequestInput, 'party' | 'leash'>,
  request: ReturnType<typeof toPost>,
): Promise<Answer> {
  return ask({
    ...{ pool: input.party.endpoint.pool(), request, id: NO_ID, leash: input.leash },
    budget: { bytesMax: ASIDE_BYTES_MAX, received: 0, decoded: 0 },
    onRequest: () => false,
  });
}

function sendAside(deps: RequestDeps, input: RequestInput, message: OutMessage): void {
  const leash = createLeash(NEVER, ASIDE_TIMEOUT_MS);
  say(deps, { ...input, leash }, message)
    .catch((error: unknown) => deps.log.warn({ err: error }, 'a message to an endpoint could not be made'))
    .finally(leash.release);
}

function envelope(
  { tokens }: RequestDeps,
  { party, dialect }: Pick<RequestInput, 'party' | 'dialect'>,
): Envelope {
  const { endpoint, audience, caller, client, logLevel } = party;
  return {
    path: endpoint.path,
    dialect,
    client,
    offered: offer(party),
    logLevel,
    authorize(body: string) {
      return tokens.sign({ audience, caller, body });
    },
  };
}

async function rest(ms: number, leash: Leash): Promise<void> {
  const stop = new AbortController();
  const detach = leash.onEnd(() => stop.abort());
  // It rejects only when the call is over, which the next step sees by itself.
  await sleep(ms, undefined, { signal: stop.signal }).catch(() => undefined);
  detach();
}

type ServerRequest = Extract<Reading, { kind: 'request' }>;

/** Answers what a server asks of its client, by a POST of its own; `take` is false once it asked too often. */
function createAnswerer(deps: RequestDeps, input: RequestInput) {
  const offered = input.party.events?.ask;
  let stopping: AbortController | undefined;
  let count = 0;
  return {
    take(request: ServerRequest): boolean {
      count += 1;
      if (count > SERVER_REQUESTS_MAX) return false;
      stopping ??= new AbortController();
      answer(deps, request, offered, stopping.signal)
        .then((message) => sendAside(deps, input, { id: request.id, ...message }))
        .catch((error: unknown) =>
          deps.log.warn({ err: error }, 'an answer to an endpoint could not be made'),
        );
      return true;
    },
    stop() {
      stopping?.abort();
    },
  };
}

async function answer(
  { log }: RequestDeps,
  { method, params }: ServerRequest,
  offered: ServerEvents['ask'],
  signal: AbortSignal,
): Promise<OutMessage> {
  if (method === 'ping') return { result: {} };
  if (offered === undefined) return refuse(METHOD_NOT_FOUND, 'this client offers nothing but ping');
  try {
    return await offered({ method, params }, signal);
  } catch (error) {
    log.warn({ err: error, method }, "a server's question could not be passed on");
    return refuse(INTERNAL_ERROR, 'the client could not be asked');
  }
}

function refuse(code: number, message: string): OutMessage {
  return { error: { code, message } };
}
