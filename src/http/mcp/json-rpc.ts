import type { Json } from '../../core/canonical-json.ts';

export type JsonObject = { [key: string]: Json };
export type RpcId = string | number;

export type RpcError = { code: number; message: string; data?: Json };
export type RpcAnswer = { result: JsonObject } | { error: RpcError };

export type RpcRequest = { kind: 'request'; id: RpcId; method: string; params: JsonObject };
export type RpcMessage =
  | RpcRequest
  | { kind: 'notification'; method: string; params: JsonObject }
  /** To something that a server asked of its client. */
  | { kind: 'response'; id: RpcId; answer: RpcAnswer };

/** The error codes of JSON-RPC 2.0 and of MCP 2026-07-28, "Error Codes". */
export const CODE = {
  parseError: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internalError: -32603,
  /** Ours to define; used for what HTTP says better. */
  refused: -32000,
  sessionNotFound: -32001,
  resourceNotFound: -32002,
  headerMismatch: -32020,
  missingCapability: -32021,
  unsupportedVersion: -32022,
  /** Of the 2025 era alone; a later request must never see it. */
  urlElicitationRequired: -32042,
} as const;

/** A request that the protocol refuses. `status` is the HTTP status where the transport has one for it. */
export class RpcFault extends Error {
  readonly error: RpcError;
  readonly status: number | undefined;

  constructor(error: RpcError, status?: number) {
    super(error.message);
    this.error = error;
    this.status = status;
  }
}

const ID_CHARACTERS_MAX = 256;
const METHOD_CHARACTERS_MAX = 128;

/** Reads one JSON-RPC 2.0 message (MCP, "Messages"). Throws an `RpcFault` for anything else. */
export function readMessage(body: unknown): RpcMessage {
  if (Array.isArray(body)) throw invalid(BATCH_REFUSAL);
  if (!isObject(body) || body.jsonrpc !== '2.0') throw invalid('The body is not one JSON-RPC 2.0 message.');
  const { id, method, params = {} } = body;
  if (method === undefined) return readResponse(body);
  if (typeof method !== 'string' || method === '' || method.length > METHOD_CHARACTERS_MAX) {
    throw invalid(`method is a text of 1 to ${METHOD_CHARACTERS_MAX} characters.`);
  }
  if (!isObject(params)) throw invalid('params is an object.');
  if (id === undefined) return { kind: 'notification', method, params };
  if (!isId(id)) throw invalid(`id is a number or a text of at most ${ID_CHARACTERS_MAX} characters.`);
  return { kind: 'request', id, method, params };
}

/**
 * One HTTP answer has one status and one payment: a batch has neither. 2025-06-18 took them out of the protocol
 * again, and no client that pays sends them.
 */
const BATCH_REFUSAL = 'JSON-RPC batches are not served: send each message in a request of its own.';

function readResponse({ id, result, error }: JsonObject): RpcMessage {
  if (!isId(id)) throw invalid('The message has neither a method nor the id of one.');
  if (isObject(result) && error === undefined) return { kind: 'response', id, answer: { result } };
  if (!isObject(error) || result !== undefined) throw invalid('A response holds a result or an error.');
  const { code, message, data } = error;
  const told = {
    code: typeof code === 'number' && Number.isInteger(code) ? code : CODE.internalError,
    message: typeof message === 'string' ? message : 'The client did not say why.',
    ...(data === undefined ? {} : { data }),
  };
  return { kind: 'response', id, answer: { error: told } };
}

/** The id of what could be a request, for answers to bodies that are none. */
export function findId(body: unknown): RpcId | null {
  return isObject(body) && isId(body.id) ? body.id : null;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isId(value: unknown): value is RpcId {
  return typeof value === 'string' ? value.length <= ID_CHARACTERS_MAX : Number.isSafeInteger(value);
}

function invalid(message: string): RpcFault {
  return new RpcFault({ code: CODE.invalidRequest, message }, 400);
}

export function invalidParams(message: string, data?: Json): RpcFault {
  return new RpcFault({ code: CODE.invalidParams, message, ...(data === undefined ? {} : { data }) });
}

export function methodNotFound(method: string): RpcFault {
  return new RpcFault({ code: CODE.methodNotFound, message: `Method not found: ${method}` });
}
