import type { JsonObject } from '../../src/http/mcp/dialects/index.ts';
import type { GatewayClient } from '../harness/gateway.ts';

export type RpcAnswer = {
  status: number;
  headers: Headers;
  result?: JsonObject & { _meta?: JsonObject; content?: { text: string }[]; structuredContent?: JsonObject };
  error?: { code: number; message: string; data?: JsonObject };
  /** The whole body, for what must not be in it. */
  text: string;
};

export type Ask = {
  tool?: string;
  args?: object;
  meta?: object;
  headers?: Record<string, string>;
  /** Further members of `params`, such as `requestState`. */
  params?: object;
  capabilities?: object;
};

const CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities';

/** One `tools/call` as bytes on the wire, in the era of 2026-07-28, where every request stands for itself. */
export async function callStateless(gateway: GatewayClient, server: string, ask: Ask): Promise<RpcAnswer> {
  const {
    tool = 'echo',
    args = { text: 'hi' },
    meta = {},
    headers = {},
    params = {},
    capabilities = {},
  } = ask;
  const _meta = {
    ...{ 'io.modelcontextprotocol/protocolVersion': '2026-07-28', [CAPABILITIES]: capabilities },
    ...{ 'io.modelcontextprotocol/clientInfo': { name: 'raw', version: '1' }, ...meta },
  };
  return post(gateway, server, {
    body: toCall({ name: tool, arguments: args, ...params, _meta }),
    headers: {
      ...{ 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': tool, ...headers },
    },
  });
}

/** The same in the era of sessions, in a session of its own. */
export async function callInSession(gateway: GatewayClient, server: string, ask: Ask): Promise<RpcAnswer> {
  const { tool = 'echo', args = { text: 'hi' }, meta, headers = {}, params = {}, capabilities = {} } = ask;
  const key = Object.fromEntries(Object.entries(headers).filter(([name]) => name === 'authorization'));
  const greeting = await post(gateway, server, {
    body: {
      ...{ jsonrpc: '2.0', id: 0, method: 'initialize' },
      params: { protocolVersion: '2025-11-25', capabilities, clientInfo: { name: 'raw', version: '1' } },
    },
    headers: key.authorization?.startsWith('Bearer') ? key : {},
  });
  const session = greeting.headers.get('mcp-session-id');
  return post(gateway, server, {
    body: toCall({ name: tool, arguments: args, ...params, ...(meta ? { _meta: meta } : {}) }),
    headers: {
      ...{ 'mcp-protocol-version': '2025-11-25', ...headers },
      ...(session === null ? {} : { 'mcp-session-id': session }),
    },
  });
}

let calls = 0;

function toCall(params: object) {
  calls += 1;
  return { jsonrpc: '2.0', id: calls, method: 'tools/call', params };
}

async function post(
  gateway: GatewayClient,
  server: string,
  { body, headers }: { body: object; headers: Record<string, string> },
): Promise<RpcAnswer> {
  const response = await gateway.fetch(`/mcp/${encodeURIComponent(server)}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, ...readRpc(response, text) };
}

/** A plain answer, or the last event of a stream. */
function readRpc({ headers }: Response, text: string): Pick<RpcAnswer, 'result' | 'error'> {
  const isStream = headers.get('content-type')?.includes('text/event-stream');
  const json = isStream
    ? (text
        .match(/^data: (.*)$/gm)
        ?.at(-1)
        ?.slice('data: '.length) ?? '{}')
    : text;
  const { result, error } = JSON.parse(json);
  return { ...(result ? { result } : {}), ...(error ? { error } : {}) };
}
