import { dropChallenges } from './dialects/index.ts';
import type { Client } from './era.ts';
import { CODE, type RpcError } from './json-rpc.ts';

/** By these clients know that they have to pay (x402 version 1 and MPP, over MCP): that is ours to ask alone. */
const PAYMENT_CODES: ReadonlySet<number> = new Set([402, -32043]);

/**
 * A server's own error; codes that one era took from the other are said in the client's. A client that pays would
 * take a challenge in it for ours.
 */
export function spellError({ era }: Pick<Client, 'era'>, { code, message, data }: RpcError): RpcError {
  if (PAYMENT_CODES.has(code)) return { code: CODE.internalError, message };
  const further = data === undefined ? {} : { data: dropChallenges(data) };
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
