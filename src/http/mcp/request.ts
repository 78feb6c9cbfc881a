import type { PaymentPages, PriceTags, ServedMcp } from '../../gateway/index.ts';
import type { Principal } from '../../keys/index.ts';
import type { Ctx, HttpDeps } from '../env.ts';
import type { Asks } from './asks.ts';
import { type Client, META } from './era.ts';
import { isObject, type JsonObject, type RpcRequest } from './json-rpc.ts';
import { type LogLevels, readLogLevel } from './log-levels.ts';
import type { Reply, Sink } from './reply.ts';
import type { Running } from './running.ts';
import { portray, toStatelessResult } from './served.ts';

/** What the endpoint needs, with its own memory of this process. */
export type McpDeps = HttpDeps & {
  asks: Asks;
  running: Running;
  logLevels: LogLevels;
  pages: PaymentPages;
  priceTags: PriceTags;
};

/** One request to one server, and all that came with it. */
export type McpRequest = {
  c: Ctx;
  request: RpcRequest;
  client: Client;
  served: ServedMcp;
  principal: Principal | undefined;
  /** The `_meta` of its params, whole. */
  meta: JsonObject | undefined;
  sink: Sink;
  /** Aborts when its client takes it back, or is gone. */
  cancelled: AbortSignal;
  /** Aborts once it is answered. */
  over: AbortSignal;
};

export function readMeta({ params }: RpcRequest): JsonObject | undefined {
  return isObject(params._meta) ? params._meta : undefined;
}

/** The caller's consent to the network that a server declares. */
export function allowsNetwork({ meta, c }: Pick<McpRequest, 'meta' | 'c'>): boolean {
  return meta?.['millicent/allow-network'] === true || c.req.header('allow-network') === 'true';
}

/** How much the client wants to read of the server's log: said with the request, or before in its session. */
export function logLevelOf(deps: McpDeps, { client, meta }: Pick<McpRequest, 'client' | 'meta'>) {
  if (client.era === '2026') return readLogLevel(meta?.[META.logLevel]);
  return client.sessionId === undefined ? undefined : deps.logLevels.get(client.sessionId);
}

export function progressTokenOf(meta: JsonObject | undefined): string | number | undefined {
  const token = meta?.progressToken;
  return typeof token === 'string' || typeof token === 'number' ? token : undefined;
}

/** What the envelope of 2026-07-28 says is told to the server anew, in the words of its own era. */
export function withoutEnvelope(meta: JsonObject | undefined): JsonObject | undefined {
  if (!meta) return undefined;
  const { [META.protocolVersion]: _v, [META.capabilities]: _c, [META.clientInfo]: _i, ...rest } = meta;
  return Object.keys(rest).length === 0 ? undefined : rest;
}

/** A result in the words of the client's era. */
export function answerWith({ client, served }: McpRequest, result: JsonObject): Reply {
  return { kind: 'answer', answer: { result: spellResult(client, served, result) } };
}

function spellResult({ era }: Client, served: ServedMcp, result: JsonObject): JsonObject {
  if (era === '2026') return toStatelessResult(portray(served), result);
  const { resultType: _, ...rest } = result;
  return rest;
}
