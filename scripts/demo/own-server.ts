import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';
import {
  createMillicentVerifier,
  createReplayCache,
  type MillicentCall,
  protectNode,
} from '../../src/sdk/server/index.ts';
import { must } from './must.ts';
import { readDocument } from './sample-servers.ts';

/** A publisher's own machine: an MCP server of the official SDK that answers the gateway and nobody else. */
export type OwnServer = {
  endpointUrl: string;
  /** Puts a text under a path of its origin, which proves whose it is. */
  prove(path: string, text: string): void;
  /** From now on calls are those of this gateway, for this server of its catalog. */
  trust(gateway: { issuer: string; audience: string }): void;
  /** What the tokens of tool calls said. */
  calls: MillicentCall[];
  close(): Promise<void>;
};

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

const MCP_PATH = '/mcp';

export async function startOwnServer(): Promise<OwnServer> {
  const proofs = new Map<string, string>();
  const calls: MillicentCall[] = [];
  const refuse: Handler = async (_, response) => void response.writeHead(401).end();
  let answer = refuse;
  const server = createServer((request, response) => {
    if (request.url === MCP_PATH) return void answer(request, response);
    const text = proofs.get(request.url ?? '');
    response.writeHead(text === undefined ? 404 : 200, { 'content-type': 'text/plain' }).end(text);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  must(address !== null && typeof address === 'object', 'the server listens on TCP');
  return {
    endpointUrl: `http://127.0.0.1:${address.port}${MCP_PATH}`,
    prove: (path, text) => void proofs.set(path, text),
    trust(gateway) {
      const verify = createMillicentVerifier({ ...gateway, replays: createReplayCache() });
      answer = protectNode(verify, async (request, response, { call, body }) => {
        const message = body.length === 0 ? undefined : JSON.parse(body.toString());
        if (message?.method === 'tools/call') calls.push(call);
        await serveMcp(request, response, message);
      });
    },
    calls,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** One request by a server that remembers nothing, as the SDK's examples have it. */
async function serveMcp(request: IncomingMessage, response: ServerResponse, message: unknown): Promise<void> {
  const mcp = new McpServer({ name: 'order-desk', version: '1.0.0' });
  const found = { customer: z.string(), product: z.string(), amount: z.number() };
  mcp.registerTool(
    'look_up_order',
    { description: 'One order of our books.', inputSchema: { order: z.string() }, outputSchema: found },
    ({ order }) => {
      const structuredContent = lookUp(order);
      return { content: [{ type: 'text', text: JSON.stringify(structuredContent) }], structuredContent };
    },
  );
  const transport = new StreamableHTTPServerTransport({});
  response.once('close', () => void transport.close());
  // The SDK's own types are not exact about optional members.
  await mcp.connect(transport as unknown as Parameters<McpServer['connect']>[0]);
  await transport.handleRequest(request, response, message);
}

/** Data that never leaves its publisher, but for what a call asks of it. */
function lookUp(order: string): { customer: string; product: string; amount: number } {
  const row = readDocument('orders.csv')
    .split('\n')
    .find((line) => line.startsWith(`${order},`));
  if (row === undefined) throw new Error(`there is no order ${order}`);
  const cells = [...row.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
    ([, quoted, plain]) => quoted ?? plain ?? '',
  );
  const [, , customer = '', , , product = '', quantity, price, discount] = cells;
  const amount = Number(quantity) * Number(price) * (1 - Number(discount) / 100);
  return { customer, product, amount: Math.round(amount * 100) / 100 };
}
