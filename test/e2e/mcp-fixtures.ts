import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestGateway } from '../harness/gateway.ts';
import { jsonBody, publishEcho } from './fixtures.ts';

const EVERYTHING = readFileSync(join(import.meta.dirname, '../conformance/servers/everything.py'), 'utf8');
const PRICE_MCENTS = 250;

/** The fixture of the conformance suites, hosted: `price_mcents` 250 for `echo` and `sleep` unless told, else free. */
export async function publishEverything(gateway: TestGateway, pricing?: object) {
  const server = await publishEcho(gateway, {
    files: { 'server.py': EVERYTHING },
    pricing: pricing ?? {
      model: 'per_call',
      amount_mcents: 0,
      tools: { echo: PRICE_MCENTS, test_tool_with_progress: PRICE_MCENTS, test_sampling: PRICE_MCENTS },
    },
  });
  const path = `/mcp/${encodeURIComponent(server.name)}`;
  return { ...server, path, endpoint: `${gateway.url}${path}` };
}

export type Rpc = {
  jsonrpc: string;
  id: unknown;
  result?: Record<string, unknown> & { _meta?: Record<string, unknown>; content?: { text?: string }[] };
  error?: { code: number; message: string; data?: Record<string, unknown> };
  method?: string;
  params?: Record<string, unknown>;
};

export type RpcResponse = { status: number; headers: Headers; body: Rpc; events: Rpc[] };

const STATELESS = '2026-07-28';
let lastId = 0;

/** One message as a client of the 2025 era posts it; what a stream says before the answer is in `events`. */
export async function post(
  gateway: Pick<TestGateway, 'fetch'>,
  path: string,
  message: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<RpcResponse> {
  const accept = 'application/json, text/event-stream';
  const response = await gateway.fetch(
    path,
    jsonBody({ jsonrpc: '2.0', ...message }, { accept, ...headers }),
  );
  const text = await response.text();
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') ?? false;
  const messages = isStream ? readEvents(text) : [text === '' ? undefined : JSON.parse(text)];
  return {
    status: response.status,
    headers: response.headers,
    body: messages.at(-1),
    events: messages.slice(0, -1),
  };
}

export function readEvents(text: string): Rpc[] {
  return [...text.matchAll(/^data: (.*)$/gm)].map(([, data = '']) => JSON.parse(data));
}

/** One request with an id of its own. */
export function ask(
  gateway: Pick<TestGateway, 'fetch'>,
  path: string,
  method: string,
  params: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Promise<RpcResponse> {
  lastId += 1;
  return post(gateway, path, { id: lastId, method, params }, headers);
}

/** Shakes hands and gives back the headers of what follows. */
export async function shakeHands(
  gateway: Pick<TestGateway, 'fetch'>,
  path: string,
  capabilities: object = {},
): Promise<Record<string, string>> {
  const clientInfo = { name: 'tests', version: '1' };
  const { headers } = await ask(gateway, path, 'initialize', {
    ...{ protocolVersion: '2025-11-25', capabilities, clientInfo },
  });
  return {
    'mcp-session-id': headers.get('mcp-session-id') ?? '',
    'mcp-protocol-version': '2025-11-25',
  };
}

/** A request of the stateless era with all that it has to carry. */
export function askStateless(
  gateway: Pick<TestGateway, 'fetch'>,
  path: string,
  method: string,
  params: Record<string, unknown> & { _meta?: object } = {},
  headers: Record<string, string> = {},
): Promise<RpcResponse> {
  const { _meta, ...rest } = params;
  const name = params.name ?? params.uri;
  return ask(
    gateway,
    path,
    method,
    { ...rest, _meta: { ...envelope(), ..._meta } },
    {
      ...{ 'mcp-protocol-version': STATELESS, 'mcp-method': method },
      ...(typeof name === 'string' ? { 'mcp-name': name } : {}),
      ...headers,
    },
  );
}

export function envelope(capabilities: object = {}): Record<string, unknown> {
  return {
    'io.modelcontextprotocol/protocolVersion': STATELESS,
    'io.modelcontextprotocol/clientCapabilities': capabilities,
    'io.modelcontextprotocol/clientInfo': { name: 'tests', version: '1' },
  };
}
