// An MCP server over stdio in one file: JSON-RPC 2.0, one message a line (MCP 2025-11-25, "Transports: stdio").
import { createInterface } from 'node:readline';

const PROTOCOL_VERSIONS = ['2025-11-25', '2025-06-18'];

/** Serves tools, each `{ name, description, inputSchema, outputSchema, run }`; what `run` throws is the caller's. */
export async function serve(info, tools) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, method, params = {} } = JSON.parse(line);
    if (id === undefined || method === undefined) continue;
    process.stdout.write(
      `${JSON.stringify({ jsonrpc: '2.0', id, ...answer(info, tools, method, params) })}\n`,
    );
  }
}

function answer(info, tools, method, params) {
  switch (method) {
    case 'initialize': {
      const [newest] = PROTOCOL_VERSIONS;
      const known = PROTOCOL_VERSIONS.includes(params.protocolVersion);
      const protocolVersion = known ? params.protocolVersion : newest;
      return { result: { protocolVersion, capabilities: { tools: {} }, serverInfo: info } };
    }
    case 'ping':
      return { result: {} };
    case 'tools/list':
      return { result: { tools: tools.map(({ run: _, ...described }) => described) } };
    case 'tools/call': {
      const tool = tools.find(({ name }) => name === params.name);
      if (tool) return { result: callTool(tool, params.arguments ?? {}) };
      return { error: { code: -32602, message: `there is no tool ${params.name}` } };
    }
    default:
      return { error: { code: -32601, message: `there is no method ${method}` } };
  }
}

function callTool({ run }, given) {
  try {
    const structuredContent = run(given);
    return { content: [{ type: 'text', text: JSON.stringify(structuredContent) }], structuredContent };
  } catch (error) {
    return { content: [{ type: 'text', text: error.message }], isError: true };
  }
}
