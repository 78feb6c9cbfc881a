// A server of the 2026-07-28 revision made with the SDK of that revision, bundled into one file by its test.
import { fromJsonSchema, McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';

serveStdio(
  () => {
    const server = new McpServer({ name: 'sdk', version: '2.4.0' }, { capabilities: { tools: {} } });
    const inputSchema = fromJsonSchema({
      type: 'object',
      properties: { a: { type: 'number' } },
      required: ['a'],
    });
    server.registerTool('double', { description: 'Doubles.', inputSchema }, async ({ a }) => ({
      content: [{ type: 'text', text: String(2 * a) }],
      structuredContent: { doubled: 2 * a },
    }));
    return server;
  },
  { legacy: process.argv[2] ?? 'reject' },
);
