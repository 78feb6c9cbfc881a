import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { CreateMessageResultSchema, ElicitResultSchema } from '@modelcontextprotocol/sdk/types.js';
import {
  acceptedContent,
  createMcpHandler,
  inputRequired,
  inputResponse,
  McpServer as ModernServer,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { GatewayClient } from '../harness/gateway.ts';
import { jsonBody, readAnswer, submission } from './fixtures.ts';

type Asked = { method: string; headers: IncomingMessage['headers']; body: string; rpc: string | undefined };

/** A publisher's machine: one origin that serves MCP at `/mcp`, and whatever files its publisher puts there. */
export type OwnServer = {
  url: string;
  /** Texts by path. */
  files: Map<string, string>;
  /** Every request to `/mcp`. */
  asked: Asked[];
  close(): Promise<void>;
};

export type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => unknown;

/** Serves the handler on a port of its own; `port` takes one that was free before. */
export async function startOwn(handler: Handler, port = 0): Promise<OwnServer> {
  const files = new Map<string, string>();
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const path = request.url ?? '/';
    if (!path.startsWith('/mcp')) {
      const file = files.get(path);
      response.writeHead(file === undefined ? 404 : 200, { 'content-type': 'text/plain' }).end(file);
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const text = body.toString();
    asked.push({ method: request.method ?? '', headers: request.headers, body: text, rpc: rpcOf(text) });
    await handler(request, response, body);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  // It listens on TCP, so its address is one.
  const { port: taken } = server.address() as AddressInfo;
  return {
    ...{ url: `http://127.0.0.1:${taken}/mcp`, files, asked },
    async close() {
      server.closeAllConnections();
      if (!server.listening) return;
      server.close();
      await once(server, 'close');
    },
  };
}

function rpcOf(body: string): string | undefined {
  try {
    return JSON.parse(body).method;
  } catch {
    return undefined;
  }
}

type Proving = {
  key?: string;
  name?: string;
  change?: Record<string, unknown>;
  /** Told the id that the server will have, before anything else is asked of it. */
  onPromise?(id: string): Promise<void>;
};
export type Listed = { key: string; name: string; id: string; path: string; call: string };

let listed = 0;

/** Lists a publisher's own server as a publisher does: refused with a challenge, served, sent again. */
export async function listOwn(
  gateway: GatewayClient,
  own: Pick<OwnServer, 'url' | 'files'>,
  { key, name, change = {}, onPromise }: Proving = {},
): Promise<Listed> {
  listed += 1;
  const as = key ?? (await gateway.mint(0, ['publish', 'read']));
  const body = ownSubmission(name ?? `own${listed}-${process.pid}/server`, {
    endpoint_url: own.url,
    ...change,
  });
  const post = () => gateway.fetch('/mcp', jsonBody(body, { authorization: `Bearer ${as}` }));
  const refused = (await (await post()).json()) as {
    status: number;
    id: string;
    challenge?: { url: string; body: string };
  };
  if (refused.challenge === undefined) throw new Error(`no challenge: ${JSON.stringify(refused)}`);
  own.files.set(new URL(refused.challenge.url).pathname, refused.challenge.body);
  await onPromise?.(refused.id);
  const response = await post();
  const answer = await readAnswer(response);
  if (response.status !== 201) throw new Error(`listing failed: ${JSON.stringify(answer)}`);
  if (answer.id !== refused.id) throw new Error('the id is not the one that was promised');
  const at = encodeURIComponent(String(body.name));
  return { key: as, name: String(body.name), id: answer.id, path: `/mcp/${at}`, call: `/invoke/${at}` };
}

/** What registering an endpoint takes. */
export function ownSubmission(name: string, change: Record<string, unknown>): Record<string, unknown> {
  const { files: _, entrypoint: __, language: ___, ...body } = submission(name);
  const pricing = { model: 'per_call', amount_mcents: 250, tools: { gratis: 0 } };
  return { ...body, tier: 'pro', pricing, ...change };
}

const FORM = { type: 'object' as const, properties: { name: { type: 'string' as const } } };
const WHO = 'Who are you?';
const text = (words: string) => ({ content: [{ type: 'text' as const, text: words }] });
const greet = (name: string) => ({
  ...text(`Hello ${name}`),
  structuredContent: { greeting: `Hello ${name}` },
});

/** What publishers write with the first SDK. `calls` counts the calls of one instance. */
function makeFirst(state: { calls: number }): McpServer {
  const server = new McpServer(
    { name: 'own', version: '1.2.3' },
    { capabilities: { logging: {} }, instructions: 'Greet.' },
  );
  const contract = { inputSchema: { name: z.string() }, outputSchema: { greeting: z.string() } };
  server.registerTool('greet', contract, ({ name }) => greet(name));
  server.registerTool('gratis', {}, () => {
    state.calls += 1;
    return text(`free ${state.calls}`);
  });
  server.registerTool('work', {}, async ({ _meta, sendNotification }) => {
    for (const progress of [1, 2, 3]) {
      const params = { progressToken: _meta?.progressToken ?? '', progress, total: 3 };
      await sendNotification({ method: 'notifications/progress', params });
    }
    return text('worked');
  });
  server.registerTool('form', {}, async ({ sendRequest }) => {
    const params = { message: WHO, requestedSchema: FORM };
    const { action, content } = await sendRequest(
      { method: 'elicitation/create', params },
      ElicitResultSchema,
    );
    return text(`${action} ${content?.name}`);
  });
  server.registerTool('think', {}, async ({ sendRequest }) => {
    const messages = [{ role: 'user' as const, content: { type: 'text' as const, text: WHO } }];
    const request = { method: 'sampling/createMessage' as const, params: { messages, maxTokens: 9 } };
    const { content } = await sendRequest(request, CreateMessageResultSchema);
    return text(content.type === 'text' ? content.text : '');
  });
  server.registerResource('note', 'own://note', { mimeType: 'text/plain' }, () => ({
    contents: [{ uri: 'own://note', text: 'noted' }],
  }));
  server.registerPrompt('welcome', { argsSchema: { name: z.string() } }, ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `Welcome ${name}` } }],
  }));
  return server;
}

/** The first SDK's transport with sessions. */
export function startSessions(): Promise<OwnServer> {
  const transports = new Map<string, StreamableHTTPServerTransport>();
  return startOwn(async (request, response, body) => {
    const id = String(request.headers['mcp-session-id'] ?? '');
    const message = body.length === 0 ? undefined : JSON.parse(body.toString());
    let transport = transports.get(id);
    if (transport === undefined) {
      if (message?.method !== 'initialize') return response.writeHead(id === '' ? 400 : 404).end();
      const made = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (sessionId) => void transports.set(sessionId, made),
        onsessionclosed: (sessionId) => void transports.delete(sessionId),
      });
      await makeFirst({ calls: 0 }).connect(made);
      transport = made;
    }
    return transport.handleRequest(request, response, message);
  });
}

/** The first SDK's transport without sessions, which answers with JSON. */
export function startStateless(): Promise<OwnServer> {
  return startOwn((request, response, body) => serveStateless(request, response, body));
}

/** One request by a server of the first SDK that remembers nothing. */
export async function serveStateless(request: IncomingMessage, response: ServerResponse, body: Buffer) {
  if (request.method !== 'POST') return response.writeHead(405).end();
  const transport = new StreamableHTTPServerTransport({});
  response.once('close', () => void transport.close());
  await makeFirst({ calls: 0 }).connect(transport);
  return transport.handleRequest(request, response, JSON.parse(body.toString()));
}

/** The handler of the second SDK, which serves both eras, or only its own. */
export function startSecond(options: { legacy?: 'stateless' | 'reject' } = {}): Promise<OwnServer> {
  const handler = createMcpHandler(makeSecond, options);
  const listener = getRequestListener((request) => handler.fetch(request));
  // Its adaptor takes a body that was read already from `rawBody`.
  return startOwn((request, response, body) => listener(Object.assign(request, { rawBody: body }), response));
}

function makeSecond(): ModernServer {
  const server = new ModernServer({ name: 'own', version: '1.2.3' }, { instructions: 'Greet.' });
  const contract = {
    inputSchema: z.object({ name: z.string() }),
    outputSchema: z.object({ greeting: z.string() }),
  };
  server.registerTool('greet', contract, async ({ name }) => greet(name));
  server.registerTool('gratis', {}, async () => text('free 1'));
  server.registerTool('work', {}, async ({ mcpReq }) => {
    const { progressToken = '' } = mcpReq._meta ?? {};
    for (const progress of [1, 2, 3]) {
      const params = { progressToken, progress, total: 3 };
      await mcpReq.notify({ method: 'notifications/progress', params });
    }
    return text('worked');
  });
  server.registerTool('form', {}, async ({ mcpReq }) => {
    const content = acceptedContent(mcpReq.inputResponses, 'who', z.object({ name: z.string() }));
    if (content !== undefined) return text(`accept ${content.name}`);
    const who = inputRequired.elicit({ message: WHO, requestedSchema: FORM });
    return inputRequired({ inputRequests: { who }, requestState: 'asked' });
  });
  server.registerTool('think', {}, async ({ mcpReq }) => {
    const thought = inputResponse(mcpReq.inputResponses, 'thought');
    if (thought.kind === 'missing') {
      const messages = [{ role: 'user' as const, content: { type: 'text' as const, text: WHO } }];
      return inputRequired({
        inputRequests: { thought: inputRequired.createMessage({ messages, maxTokens: 9 }) },
      });
    }
    return text(JSON.stringify(thought).includes('I am') ? 'I am a model' : JSON.stringify(thought));
  });
  server.registerResource('note', 'own://note', { mimeType: 'text/plain' }, async () => ({
    contents: [{ uri: 'own://note', text: 'noted' }],
  }));
  server.registerPrompt('welcome', { argsSchema: z.object({ name: z.string() }) }, async ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `Welcome ${name}` } }],
  }));
  return server;
}
