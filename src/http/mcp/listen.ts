import { META } from './era.ts';
import { invalidParams, isObject, type JsonObject, type RpcRequest } from './json-rpc.ts';
import { type Portrait, toStatelessResult } from './served.ts';

/**
 * `subscriptions/listen` (MCP 2026-07-28, "Subscriptions"): nothing a server has here ever changes under a client, so
 * nothing of what is asked for is granted. That is what the acknowledgement says, and then it is over.
 */
export function acknowledgeListening(
  portrait: Portrait,
  { id, params }: RpcRequest,
): { acknowledgement: JsonObject; result: JsonObject } {
  if (!isObject(params.notifications)) throw invalidParams('notifications is an object.');
  const _meta = { [META.subscriptionId]: id };
  return {
    acknowledgement: {
      jsonrpc: '2.0',
      method: 'notifications/subscriptions/acknowledged',
      params: { notifications: {}, _meta },
    },
    result: toStatelessResult(portrait, { _meta }),
  };
}
