import type { Client } from './era.ts';
import { CODE, type RpcError } from './json-rpc.ts';

/** A server's own error; codes that one era took from the other are said in the client's. */
export function spellError({ era }: Pick<Client, 'era'>, { code, message, data }: RpcError): RpcError {
  const further = data === undefined ? {} : { data };
  if (era === '2025') return { code, message, ...further };
  if (code === CODE.resourceNotFound) return { code: CODE.invalidParams, message, ...further };
  if (code === CODE.urlElicitationRequired) return { code: CODE.internalError, message };
  return { code, message, ...further };
}

/** 2026-07-28 has HTTP say what it can; before, an answer of JSON-RPC was a success of HTTP. */
export function statusOf(era: Client['era'], code: number): number {
  if (era === '2025') return 200;
  if (code === CODE.methodNotFound) return 404;
  return code === CODE.missingCapability ? 400 : 200;
}
