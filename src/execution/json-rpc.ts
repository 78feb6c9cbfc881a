import type { Json } from '../core/canonical-json.ts';
import { isObject, type JsonObject } from './json-lines.ts';
import type { FailureReason } from './outcome.ts';

/** How a conversation ended before its last answer. */
export type Break = { kind: 'broken'; reason: FailureReason; detail: string };

export type Reply =
  | { kind: 'result'; result: JsonObject }
  /** A JSON-RPC error. */
  | { kind: 'error'; code: number; message: string; data?: Json }
  | Break;

/** Asks a server and waits for its answer. */
export type Request = (method: string, params: JsonObject) => Promise<Reply>;

export type RequestId = string | number;
export type ServerRequest = { kind: 'request'; id: RequestId; method: string; params: JsonObject };
export type ServerNotification = { kind: 'notification'; method: string; params: JsonObject };

export type Reading =
  | { kind: 'reply'; reply: Reply }
  | ServerRequest
  | ServerNotification
  | { kind: 'violation'; why: string };

export const METHOD_NOT_FOUND = -32601;
export const INTERNAL_ERROR = -32603;
/** MCP 2026-07-28, "Error Codes". */
export const UNSUPPORTED_PROTOCOL_VERSION = -32022;

/** One JSON-RPC 2.0 message of a server, held against the one request that may be answered now. */
export function readMessage(message: JsonObject, expectedId: number | undefined): Reading {
  const { id, method, result, error } = message;
  if (message.jsonrpc !== '2.0')
    return { kind: 'violation', why: 'wrote a message that is not JSON-RPC 2.0' };
  if (typeof method === 'string') return readCall(message, method);
  if (expectedId === undefined || id !== expectedId) {
    return { kind: 'violation', why: 'answered a request that was not asked, or answered one twice' };
  }
  if (isObject(result) && error === undefined) return { kind: 'reply', reply: { kind: 'result', result } };
  if (!isObject(error) || result !== undefined) {
    return { kind: 'violation', why: 'sent an answer that holds neither a result nor an error, or both' };
  }
  return { kind: 'reply', reply: readError(error) };
}

function readCall({ id, params }: JsonObject, method: string): Reading {
  const given = isObject(params) ? params : {};
  if (id === undefined) return { kind: 'notification', method, params: given };
  if (typeof id === 'string' || typeof id === 'number') return { kind: 'request', id, method, params: given };
  return { kind: 'violation', why: 'sent a request without a valid id' };
}

function readError({ code, message, data }: JsonObject): Reply {
  return {
    kind: 'error',
    code: typeof code === 'number' ? code : INTERNAL_ERROR,
    message: typeof message === 'string' ? message : 'an error without a message',
    ...(data === undefined ? {} : { data }),
  };
}
