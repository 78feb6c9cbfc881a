import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createMcpHandler, McpServer as ModernServer } from '@modelcontextprotocol/server';
import { z } from 'zod';
import { systemClock } from '../../src/core/clock.ts';
import { type Log, silentLog } from '../../src/core/log.ts';
import {
  createCallTokens,
  createRemoteServers,
  type RemoteMcp,
  type RemoteServersDeps,
} from '../../src/execution/backends/remote-mcp/index.ts';
import type { Exchange, Exchanged } from '../../src/execution/exchange.ts';
import type { JsonObject } from '../../src/execution/json-lines.ts';

export const ISSUER = 'https://gateway.example';
export const SERVER_ID = '01980000-0000-7000-8000-0000000000aa';
export const SECRET = Buffer.alloc(32, 7);
const NEVER = new AbortController().signal;

/** What an endpoint was asked. */
export type Seen = {
  method: string;
  headers: IncomingMessage['headers'];
  body: string;
  rpc: string | undefined;
};

export type TestEndpoint = { url: string; seen: Seen[]; connections(): number; close(): Promise<void> };

/** An endpoint on a free port, which keeps what it was asked. */
export async function startEndpoint(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void | Promise<void>,
): Promise<TestEndpoint> {
  const seen: Seen[] = [];
  let connections = 0;
  const server = createServer({ keepAliveTimeout: 5_000 }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    seen.push({ method: request.method ?? '', headers: request.headers, body, rpc: methodOf(body) });
    await answer(request, response, body);
  });
  server.on('connection', () => {
    connections += 1;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It listens on TCP, so its address is one.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    seen,
    connections: () => connections,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function methodOf(body: string): string | undefined {
  try {
    return JSON.parse(body).method;
  } catch {
    return undefined;
  }
}

/** An endpoint of few words: JSON by JSON-RPC method; what a method is answered may be written by hand. */
export function startScripted(
  script: (message: { id?: number; method: string; params: JsonObject }, response: ServerResponse) => unknown,
): Promise<TestEndpoint> {
  return startEndpoint(async (_, response, body) => {
    const message = JSON.parse(body === '' ? '{}' : body);
    const answer = await script(message, response);
    if (answer === undefined) return;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(answer));
  });
}

export const DISCOVERED = {
  ...{ resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { tools: {} } },
  ...{ ttlMs: 0, cacheScope: 'private' },
};

/** A stateless endpoint that answers `tools/call` as told. */
export function startModern(
  call: (message: { id?: number; params: JsonObject }, response: ServerResponse) => unknown,
): Promise<TestEndpoint> {
  return startScripted((message, response) =>
    message.method === 'server/discover'
      ? { jsonrpc: '2.0', id: message.id, result: DISCOVERED }
      : call(message, response),
  );
}

/** What the SDK of the 2025 era serves: tools that count, talk while they work, ask, and hang. */
function makeServer(session: { calls: number }): McpServer {
  const server = new McpServer(
    { name: 'counter', version: '1.2.3' },
    { capabilities: { logging: {} }, instructions: 'Count.' },
  );
  server.registerTool('count', { inputSchema: { by: z.number() } }, async ({ by }) => {
    session.calls += by;
    return { content: [{ type: 'text', text: String(session.calls) }] };
  });
  server.registerTool('slow', {}, async ({ _meta, signal, sendNotification }) => {
    for (let step = 1; step <= 3 && !signal.aborted; step += 1) {
      const progressToken = _meta?.progressToken ?? '';
      await sendNotification({ method: 'notifications/progress', params: { progressToken, progress: step } });
    }
    return { content: [{ type: 'text', text: 'done' }] };
  });
  server.registerTool('ask', {}, async () => {
    const { action, content } = await server.server.elicitInput({
      message: 'Your name?',
      requestedSchema: { type: 'object', properties: { name: { type: 'string' } } },
    });
    return { content: [{ type: 'text', text: `${action} ${content?.name}` }] };
  });
  server.registerTool('ask-in-call', {}, async ({ sendRequest }) => {
    const params = { message: 'Your name?', requestedSchema: { type: 'object' as const, properties: {} } };
    const answer = await sendRequest(
      { method: 'elicitation/create', params },
      z.looseObject({ action: z.string() }),
    );
    return { content: [{ type: 'text', text: answer.action }] };
  });
  server.registerTool('hang', {}, async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    session.calls = 1_000;
    return { content: [] };
  });
  return server;
}

/** The SDK's transport with sessions; `forget` loses all of them. */
export async function startWithSessions(): Promise<
  TestEndpoint & { forget(): void; sessions(): number; calls(): number[] }
> {
  const transports = new Map<string, StreamableHTTPServerTransport>();
  const states: { calls: number }[] = [];
  const endpoint = await startEndpoint(async (request, response, body) => {
    const id = String(request.headers['mcp-session-id'] ?? '');
    const parsed = body === '' ? undefined : JSON.parse(body);
    let transport = transports.get(id);
    if (transport === undefined) {
      if (id !== '' || parsed?.method !== 'initialize') {
        response.writeHead(id === '' ? 400 : 404).end();
        return;
      }
      const made = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (sessionId) => void transports.set(sessionId, made),
        onsessionclosed: (sessionId) => void transports.delete(sessionId),
      });
      const state = { calls: 0 };
      states.push(state);
      await makeServer(state).connect(made);
      transport = made;
    }
    await transport.handleRequest(request, response, parsed);
  });
  return {
    ...endpoint,
    forget: () => transports.clear(),
    sessions: () => transports.size,
    calls: () => states.map(({ calls }) => calls),
  };
}

/** The SDK's transport without sessions, which answers with JSON. */
export function startStateless(): Promise<TestEndpoint> {
  return startEndpoint(async (request, response, body) => {
    if (request.method !== 'POST') return void response.writeHead(405).end();
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
    response.once('close', () => void transport.close());
    await makeServer({ calls: 0 }).connect(transport);
    await transport.handleRequest(request, response, JSON.parse(body));
  });
}

/** The handler of the SDK of the 2026-07-28 era; it serves the era before as well. */
export function startSdk2(options: { legacy?: 'stateless' | 'reject' } = {}): Promise<TestEndpoint> {
  const handler = createMcpHandler(() => {
    const server = new ModernServer({ name: 'modern', version: '2.0.0' }, { instructions: 'Ask away.' });
    server.registerTool(
      'add',
      { inputSchema: z.object({ a: z.number(), b: z.number() }) },
      async ({ a, b }) => ({
        content: [{ type: 'text', text: String(a + b) }],
      }),
    );
    server.registerPrompt('grüße', {}, async () => ({
      messages: [{ role: 'user', content: { type: 'text', text: 'umlaut' } }],
    }));
    return server;
  }, options);
  const listener: RequestListener = getRequestListener((request) => handler.fetch(request));
  return startEndpointWith(listener);
}

async function startEndpointWith(listener: RequestListener): Promise<TestEndpoint> {
  const seen: Seen[] = [];
  let connections = 0;
  const server = createServer((request, response) => {
    seen.push({ method: request.method ?? '', headers: request.headers, body: '', rpc: undefined });
    listener(request, response);
  });
  server.on('connection', () => {
    connections += 1;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    seen,
    connections: () => connections,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

export const tokens = createCallTokens({ secrets: [SECRET], issuer: ISSUER, clock: systemClock });

export function makeRemote(options: Partial<RemoteServersDeps> = {}): RemoteMcp {
  return createRemoteServers({
    ...{ tokens, clock: systemClock, log: silentLog, allowLoopback: true, connectionsMax: 64 },
    ...options,
  });
}

export const LIMITS = { runTimeoutMs: 5_000, outputBytesMax: 64 * 1024 };

export type CallOptions = Omit<Partial<Exchange>, 'server' | 'request'> & {
  limits?: typeof LIMITS;
  signal?: AbortSignal;
};

/** One `tools/call` of an endpoint. */
export function callTool(
  remote: RemoteMcp,
  url: string,
  name: string,
  args: JsonObject = {},
  options: CallOptions = {},
): Promise<Exchanged> {
  const { limits = LIMITS, signal = NEVER, ...rest } = options;
  return remote.exchange(
    {
      server: { kind: 'remote', serverId: SERVER_ID, endpoint: url, limits },
      request: { method: 'tools/call', params: { name, arguments: args, _meta: { progressToken: 'p1' } } },
      ...rest,
    },
    signal,
  );
}

/** The text of a result, or what came instead. */
export function textOf(exchanged: Exchanged): string {
  if (exchanged.kind !== 'result') return JSON.stringify(exchanged);
  const { content } = exchanged.result;
  return Array.isArray(content) ? String((content[0] as { text?: string } | undefined)?.text) : 'no content';
}

/** A log that keeps what it was warned of. */
export function keepWarnings(): Log & { warnings: string[] } {
  const warnings: string[] = [];
  return { ...silentLog, warnings, warn: (_, message) => void warnings.push(message) };
}
