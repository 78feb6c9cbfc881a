import { createServer } from 'node:http';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { CallToolRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { tellReady } from './ready.ts';

/** A proxy of SDK objects: a server for each request, and one client for all, or one for each as well. */
const newClient = async () => {
  const client = new Client({ name: 'proxy', version: '1' });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${process.env.TARGET}/mcp`)));
  return client;
};
const shared = process.env.CLIENTS === 'shared' ? await newClient() : undefined;

const server = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const proxy = new Server({ name: 'proxy', version: '1' }, { capabilities: { tools: {} } });
  proxy.setRequestHandler(CallToolRequestSchema, async ({ params }) => {
    const client = shared ?? (await newClient());
    try {
      return await client.callTool(params);
    } finally {
      if (client !== shared) await client.close();
    }
  });
  const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
  response.once('close', () => void transport.close());
  await proxy.connect(transport);
  await transport.handleRequest(request, response, JSON.parse(Buffer.concat(chunks).toString()));
});
tellReady(server);
