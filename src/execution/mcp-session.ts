import type { Jail } from './backend.ts';
import { isObject, type JsonObject } from './json-lines.ts';
import type { FailureReason } from './outcome.ts';
import { toPublicDetail } from './public-detail.ts';
import { readServerOutput } from './server-output.ts';

/** How a conversation ended before its last answer. */
export type Break = { kind: 'broken'; reason: FailureReason; detail: string };

export type Reply =
  | { kind: 'result'; result: JsonObject }
  /** A JSON-RPC error. */
  | { kind: 'error'; code: number; message: string }
  | Break;

/** One conversation with one MCP server over stdio (MCP 2025-11-25, "Transports: stdio"). */
export type McpSession = {
  /** Shakes hands; must come first. Undefined when all is well. */
  initialize(): Promise<Break | undefined>;
  /** Asks and waits; one request at a time. */
  request(method: string, params: JsonObject): Promise<Reply>;
  /** Ends the conversation for a reason from outside; the request that waits is answered with it. */
  end(reason: FailureReason, detail: string): void;
  /** How it broke, if it did; also after the last answer. */
  broken(): Break | undefined;
  stderrTail(): string;
};

const PROTOCOL_VERSION = '2025-11-25';
const METHOD_NOT_FOUND = -32601;
const INTERNAL_ERROR = -32603;
/** A server that asks more than this of a client that offers nothing is not serious. */
const SERVER_REQUESTS_MAX = 64;

/** Opens a conversation with the server in a jail, and believes it only as far as it keeps to the protocol. */
export function openMcpSession(
  jail: Pick<Jail, 'stdin' | 'stdout' | 'stderr'>,
  outputBytesMax: number,
): McpSession {
  let broken: Break | undefined;
  let waiting: { id: number; settle: (reply: Reply) => void } | undefined;
  let requestCount = 0;

  const send = (message: JsonObject) => {
    jail.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  };
  const settle = (reply: Reply) => {
    const current = waiting;
    waiting = undefined;
    current?.settle(reply);
  };
  const end = (reason: FailureReason, detail: string) => {
    if (broken !== undefined) return;
    broken = { kind: 'broken', reason, detail: toPublicDetail(detail) };
    output.stop();
    settle(broken);
  };
  const answer = createAnswerer(send);
  const output = readServerOutput(jail, outputBytesMax, {
    onBroken: end,
    onMessage(message) {
      const reading = readMessage(message, waiting?.id);
      if (reading.kind === 'reply') settle(reading.reply);
      if (reading.kind === 'request' && !answer(reading)) end('protocol', 'The server asks too much of us.');
      if (reading.kind === 'violation') end('protocol', `The server ${reading.why}.`);
    },
  });
  // A broken pipe says only that the server is gone, which the end of stdout says as well.
  jail.stdin.on('error', () => {});

  const request: McpSession['request'] = (method, params) => {
    if (broken !== undefined) return Promise.resolve(broken);
    requestCount += 1;
    const id = requestCount;
    return new Promise((resolve) => {
      waiting = { id, settle: resolve };
      send({ id, method, params });
    });
  };
  return {
    async initialize() {
      const refusal = refuseGreeting(await request('initialize', GREETING));
      if (refusal !== undefined) end('protocol', refusal);
      if (broken === undefined) send({ method: 'notifications/initialized' });
      return broken;
    },
    request,
    end,
    broken: () => broken,
    stderrTail: output.stderrTail,
  };
}

const GREETING: JsonObject = {
  protocolVersion: PROTOCOL_VERSION,
  capabilities: {},
  clientInfo: { name: 'millicent', version: '1' },
};

/** We use only what every revision of MCP has had, so whichever the server answers with will do. */
function refuseGreeting(reply: Reply): string | undefined {
  if (reply.kind === 'broken') return undefined;
  if (reply.kind === 'error') return `The server refused initialize: ${reply.message}`;
  const { protocolVersion } = reply.result;
  if (typeof protocolVersion === 'string' && /^\d{4}-\d{2}-\d{2}$/.test(protocolVersion)) return undefined;
  return 'The server answered initialize without a protocolVersion.';
}

type ServerRequest = { kind: 'request'; id: string | number; method: string };

type Reading =
  | { kind: 'reply'; reply: Reply }
  | ServerRequest
  | { kind: 'notification' }
  | { kind: 'violation'; why: string };

function readMessage(message: JsonObject, expectedId: number | undefined): Reading {
  const { id, method, result, error } = message;
  if (message.jsonrpc !== '2.0')
    return { kind: 'violation', why: 'wrote a message that is not JSON-RPC 2.0' };
  if (typeof method === 'string') {
    if (id === undefined) return { kind: 'notification' };
    if (typeof id === 'string' || typeof id === 'number') return { kind: 'request', id, method };
    return { kind: 'violation', why: 'sent a request without a valid id' };
  }
  if (expectedId === undefined || id !== expectedId) {
    return { kind: 'violation', why: 'answered a request that was not asked, or answered one twice' };
  }
  if (isObject(result) && error === undefined) return { kind: 'reply', reply: { kind: 'result', result } };
  if (!isObject(error) || result !== undefined) {
    return { kind: 'violation', why: 'sent an answer that holds neither a result nor an error, or both' };
  }
  const text = typeof error.message === 'string' ? error.message : 'an error without a message';
  const code = typeof error.code === 'number' ? error.code : INTERNAL_ERROR;
  return { kind: 'reply', reply: { kind: 'error', code, message: text } };
}

/** Answers what a server asks of its client; false once it asked too often. */
function createAnswerer(send: (message: JsonObject) => void): (request: ServerRequest) => boolean {
  let count = 0;
  return ({ id, method }) => {
    count += 1;
    if (count > SERVER_REQUESTS_MAX) return false;
    if (method === 'ping') send({ id, result: {} });
    // We declared no capability: sampling, roots and elicitation are not ours to give.
    else send({ id, error: { code: METHOD_NOT_FOUND, message: 'this client offers nothing but ping' } });
    return true;
  };
}
