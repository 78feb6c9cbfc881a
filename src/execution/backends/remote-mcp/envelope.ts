import type { Json } from '../../../core/canonical-json.ts';
import type { ClientFace, LogLevel, ServerEvents } from '../../exchange.ts';
import { isObject, type JsonObject } from '../../json-lines.ts';
import type { OutRequest } from './send.ts';

export const MODERN_VERSION = '2026-07-28';
export const LEGACY_VERSION = '2025-11-25';
export const OUR_INFO: JsonObject = { name: 'millicent', version: '1' };

/** How an endpoint is spoken to. */
export type Dialect =
  /** Stateless, with everything in each request (MCP 2026-07-28). */
  | { era: 'modern'; version: string }
  /** After an `initialize`, with the session's id where the endpoint insists on one (MCP 2025-11-25 and before). */
  | { era: 'legacy'; version: string; sessionId: string | undefined };

export type OutMessage = {
  id?: number | string;
  method?: string;
  params?: JsonObject;
  result?: JsonObject;
  error?: Json;
};

/** What a message goes in. */
export type Envelope = {
  path: string;
  /** Undefined before `initialize` has said which. */
  dialect: Dialect | undefined;
  /** Who asks, as a stateless server is told it. */
  client: ClientFace | undefined;
  /** What a client of the 2025 era can be asked (`offer`). */
  offered: JsonObject;
  logLevel?: LogLevel | undefined;
  /** The token for these bytes. */
  authorize(body: string): string;
};

/** One message as the POST that carries it (MCP, "Streamable HTTP"). */
export function toPost(envelope: Envelope, message: OutMessage): OutRequest {
  const { path, dialect } = envelope;
  const { id, method, result, error } = message;
  const isModern = dialect?.era === 'modern' && method !== undefined;
  const params = isModern ? withFace(message.params ?? {}, dialect.version, envelope) : message.params;
  // Member by member, for every spread on the path of a call costs as much as it; what is undefined is left out.
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id,
    method,
    params: params && withoutClaims(params, isModern),
    result,
    error,
  });
  const headers = toHeaders(dialect, envelope.authorize(body));
  headers.accept = 'application/json, text/event-stream';
  headers['content-type'] = 'application/json';
  if (isModern) {
    headers['mcp-method'] = method;
    const name = params?.[NAME_SOURCES.get(method) ?? ''];
    if (typeof name === 'string') headers['mcp-name'] = toHeaderValue(name);
  }
  return { method: 'POST', path, headers, body };
}

/** A request without a body: taking up a stream again, or ending a session. */
export function toBodiless(
  method: 'GET' | 'DELETE',
  { path, dialect, authorize }: Pick<Envelope, 'path' | 'dialect' | 'authorize'>,
): OutRequest {
  const headers = toHeaders(dialect, authorize(''));
  headers.accept = 'text/event-stream';
  return { method, path, headers };
}

function toHeaders(dialect: Dialect | undefined, token: string): Record<string, string> {
  const headers: Record<string, string> = {
    authorization: `Bearer ${token}`,
    'accept-encoding': 'identity',
    'user-agent': 'millicent',
  };
  if (dialect !== undefined) headers['mcp-protocol-version'] = dialect.version;
  if (dialect?.era === 'legacy' && dialect.sessionId !== undefined)
    headers['mcp-session-id'] = dialect.sessionId;
  return headers;
}

/** Which parameter `Mcp-Name` repeats (SEP-2243, SEP-2663). */
const NAME_SOURCES = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
  ['tasks/get', 'taskId'],
  ['tasks/update', 'taskId'],
  ['tasks/cancel', 'taskId'],
]);

const CLAIMS = ['protocolVersion', 'clientCapabilities', 'clientInfo'].map(
  (name) => `io.modelcontextprotocol/${name}`,
);

function withFace(
  params: JsonObject,
  version: string,
  { client, offered, logLevel }: Pick<Envelope, 'client' | 'offered' | 'logLevel'>,
): JsonObject {
  const isModernClient = client !== undefined && client.protocolVersion >= MODERN_VERSION;
  const meta: JsonObject = isObject(params._meta) ? { ...params._meta } : {};
  meta['io.modelcontextprotocol/protocolVersion'] = version;
  // For a client of before it is asked here (`askInRounds`), or nobody.
  meta['io.modelcontextprotocol/clientCapabilities'] = isModernClient ? client.capabilities : offered;
  meta['io.modelcontextprotocol/clientInfo'] = client?.info ?? OUR_INFO;
  if (logLevel !== undefined) meta['io.modelcontextprotocol/logLevel'] = logLevel;
  return { ...params, _meta: meta };
}

/** A server of both eras would take a request with these for one of the other era. */
function withoutClaims(params: JsonObject, isModern: boolean): JsonObject {
  const { _meta: meta } = params;
  if (isModern || !isObject(meta) || !CLAIMS.some((name) => name in meta)) return params;
  const kept = Object.entries(meta).filter(([name]) => !CLAIMS.includes(name));
  return { ...params, _meta: Object.fromEntries(kept) };
}

/** A header's value, in base64 where it would not survive as it is (SEP-2243, "Value Encoding"). */
export function toHeaderValue(text: string): string {
  const isPlain =
    /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !/^=\?base64\?.*\?=$/.test(text);
  return isPlain ? text : `=?base64?${Buffer.from(text).toString('base64')}?=`;
}

const ANSWERABLE = ['sampling', 'elicitation', 'roots'] as const;

/** What a server may ask of this party's client: nothing, where nobody would pass it on. */
export function offer({
  client,
  events,
}: {
  client: ClientFace | undefined;
  events: ServerEvents | undefined;
}): JsonObject {
  const offered: JsonObject = {};
  if (events?.ask === undefined || client === undefined) return offered;
  for (const name of ANSWERABLE) {
    const capability = client.capabilities[name];
    if (isObject(capability)) offered[name] = capability;
  }
  return offered;
}
