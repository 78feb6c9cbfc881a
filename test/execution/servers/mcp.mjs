// A small MCP server over stdio: Node and nothing else.
import { createInterface } from 'node:readline';

export function send(message) {
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
}

export function structured(value) {
  return { content: [{ type: 'text', text: JSON.stringify(value) }], structuredContent: value };
}

/** Serves `tools`: name -> function of the arguments. */
export async function serve(tools) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, method, params } = JSON.parse(line);
    if (id !== undefined && method !== undefined)
      send({ id, ...(await answer(tools, method, params ?? {})) });
  }
}

async function answer(tools, method, params) {
  if (method === 'initialize') {
    const serverInfo = { name: 'test', version: '1' };
    return { result: { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo } };
  }
  if (method === 'tools/list') {
    const inputSchema = { type: 'object' };
    return { result: { tools: Object.keys(tools).map((name) => ({ name, inputSchema })) } };
  }
  if (method !== 'tools/call' || !Object.hasOwn(tools, params.name)) {
    return { error: { code: -32601, message: `unknown method or tool: ${method}` } };
  }
  try {
    return { result: await tools[params.name](params.arguments ?? {}) };
  } catch (error) {
    return { result: { content: [{ type: 'text', text: String(error) }], isError: true } };
  }
}
