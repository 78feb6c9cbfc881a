import type { Contracts } from './contracts.ts';
import { isObject, type JsonObject } from './json-lines.ts';
import type { Break, McpSession } from './mcp-session.ts';
import type { CallToolResult, FailureReason } from './outcome.ts';
import { toPublicDetail } from './public-detail.ts';

export type ToolCall = { request: { params: JsonObject }; outputSchema: JsonObject | undefined };

export type ToolAnswer =
  | { kind: 'delivered'; result: CallToolResult }
  | { kind: 'failed'; reason: FailureReason; detail: string };

/** Calls one tool (MCP 2025-11-25, "Tools: Calling Tools") and holds the answer to the tool's contract. */
export async function callTool(
  session: McpSession,
  contracts: Contracts,
  call: ToolCall,
): Promise<ToolAnswer | Break> {
  const reply = await session.request('tools/call', call.request.params);
  return reply.kind === 'broken' ? reply : judgeResult(contracts, reply, call.outputSchema);
}

/** What an answer is worth: delivered, or why not. */
export function judgeResult(
  contracts: Contracts,
  reply: { kind: 'result'; result: JsonObject } | { kind: 'error'; message: string },
  outputSchema: JsonObject | undefined,
): ToolAnswer {
  if (reply.kind === 'error') return fail('tool-error', reply.message);
  const result = readResult(reply.result);
  if (typeof result === 'string') return fail('protocol', result);
  if (result.isError === true) return fail('tool-error', readErrorText(result));
  const breach = outputSchema === undefined ? undefined : findBreach(contracts, outputSchema, result);
  return breach === undefined ? { kind: 'delivered', result } : fail('contract-broken', breach);
}

function findBreach(contracts: Contracts, schema: JsonObject, result: CallToolResult): string | undefined {
  if (result.structuredContent === undefined) {
    return 'The tool declares an outputSchema but sent no structuredContent.';
  }
  const validation = contracts.validate(schema, result.structuredContent, 'structuredContent');
  return validation.kind === 'invalid' ? validation.detail : undefined;
}

/** The result with the members we know, or why it is none. */
function readResult(result: JsonObject): CallToolResult | string {
  // The SDKs take a missing `content` for an empty one.
  const { content = [], structuredContent, isError, _meta } = result;
  if (!Array.isArray(content)) return 'The tool sent a result whose content is no list.';
  if (!content.every((block) => isObject(block) && typeof block.type === 'string')) {
    return 'The tool sent a content block without a type.';
  }
  if (structuredContent !== undefined && !isObject(structuredContent)) {
    return 'The tool sent structuredContent that is no object.';
  }
  if (isError !== undefined && typeof isError !== 'boolean')
    return 'The tool sent an isError that is no boolean.';
  if (_meta !== undefined && !isObject(_meta)) return 'The tool sent a _meta that is no object.';
  return {
    content,
    ...(structuredContent === undefined ? {} : { structuredContent }),
    ...(isError === undefined ? {} : { isError }),
    ...(_meta === undefined ? {} : { _meta }),
  };
}

function readErrorText({ content }: CallToolResult): string {
  for (const block of content) {
    if (isObject(block) && block.type === 'text' && typeof block.text === 'string') return block.text;
  }
  return 'The tool reported an error without saying which.';
}

function fail(reason: FailureReason, detail: string): ToolAnswer {
  return { kind: 'failed', reason, detail: toPublicDetail(detail) };
}
