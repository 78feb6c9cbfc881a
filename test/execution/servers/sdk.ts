// What an honest publisher writes with the official SDK: bundled by the test that uploads it.
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { z } from 'zod';

const server = new McpServer({ name: 'sdk', version: '1.0.0' });
server.registerTool(
  'shout',
  { inputSchema: { text: z.string() }, outputSchema: { text: z.string() } },
  ({ text }) => {
    const structuredContent = { text: text.toUpperCase() };
    return { content: [{ type: 'text', text: structuredContent.text }], structuredContent };
  },
);
await server.connect(new StdioServerTransport());
