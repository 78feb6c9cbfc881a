import type { Json } from '../../../core/canonical-json.ts';
import { isObject, type JsonObject } from '../../json-lines.ts';

/** A JSON-RPC answer (JSON-RPC 2.0, section 5). */
export type Reply =
  | { kind: 'result'; result: JsonObject }
  | { kind: 'error'; code: number; message: string; data?: Json };

export type Reading =
  | { kind: 'reply'; reply: Reply }
  | { kind: 'request'; id: string | number; method: string; params: JsonObject }
  | { kind: 'notification'; method: string; params: JsonObject }
  | { kind: 'violation'; why: string };

const INTERNAL_ERROR = -32603;

/** What a message of a server is; `expectedId` is undefined once the answer is there. */
export function readMessage(message: JsonObject, expectedId: number | undefined): Reading {
  const { id, method } = message;
  if (message.jsonrpc !== '2.0') return violation('sent a message that is not JSON-RPC 2.0');
  if (typeof method === 'string') {
    const params = isObject(message.params) ? message.params : {};
    if (id === undefined) return { kind: 'notification', method, params };
    if (typeof id === 'string' || typeof id === 'number') return { kind: 'request', id, method, params };
    return violation('sent a request without a valid id');
  }
  if (expectedId === undefined || id !== expectedId) {
    return violation('answered a request that was not asked, or answered one twice');
  }
  const reply = readReply(message);
  return reply === undefined
    ? violation('sent an answer that holds neither a result nor an error, or both')
    : { kind: 'reply', reply };
}

/** The result or the error of an answer. */
export function readReply({ result, error }: JsonObject): Reply | undefined {
  if (isObject(result) && error === undefined) return { kind: 'result', result };
  if (!isObject(error) || result !== undefined) return undefined;
  return {
    kind: 'error',
    code: typeof error.code === 'number' ? error.code : INTERNAL_ERROR,
    message: typeof error.message === 'string' ? error.message : 'an error without a message',
    ...(error.data === undefined ? {} : { data: error.data }),
  };
}

function violation(why: string): Reading {
  return { kind: 'violation', why };
}
