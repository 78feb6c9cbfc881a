import type { Json } from '../core/canonical-json.ts';
import type { Contracts } from './contracts.ts';
import type { ServerEvents } from './exchange.ts';
import { isObject, type JsonObject } from './json-lines.ts';
import type { Break, Request } from './json-rpc.ts';
import type { CallToolResult, FailureReason } from './outcome.ts';
import { toPublicDetail } from './public-detail.ts';

export type ToolCall = {
  request: { params: JsonObject };
  outputSchema: JsonObject | undefined;
  events?: ServerEvents | undefined;
};

export type ToolAnswer =
  | { kind: 'delivered'; result: CallToolResult }
  | { kind: 'failed'; reason: FailureReason; detail: string };

/** Calls one tool (MCP 2025-11-25, "Tools: Calling Tools") and holds the answer to the tool's contract. */
export async function callTool(
  request: Request,
  contracts: Contracts,
  call: ToolCall,
): Promise<ToolAnswer | Break> {
  const reply = await request('tools/call', call.request.params);
  return reply.kind === 'broken' ? reply : judgeReply(contracts, reply, call);
}

/** More than this is no question. */
const NEEDED_INPUT_BYTES_MAX = 16 * 1024;

/** What an answer is worth: delivered, or why not. */
export function judgeReply(
  contracts: Contracts,
  reply: { kind: 'result'; result: JsonObject } | RpcError,
  { outputSchema, events }: Pick<ToolCall, 'outputSchema' | 'events'>,
): ToolAnswer {
  if (reply.kind === 'error') return refuse(reply, events);
  if (reply.result.resultType === 'input_required') return askForInput(reply.result, events);
  const result = readResult(reply.result);
  if (typeof result === 'string') return fail('protocol', result);
  if (result.isError === true) return fail('tool-error', readErrorText(result));
  const breach = outputSchema === undefined ? undefined : findBreach(contracts, outputSchema, result);
  return breach === undefined ? { kind: 'delivered', result } : fail('contract-broken', breach);
}

/** As much of a server's own words as a call that cost nothing may tell. */
function refuse({ code, message, data }: RpcError, events: ServerEvents | undefined): ToolAnswer {
  const answer = fail('tool-error', message);
  const isShort = data !== undefined && Buffer.byteLength(JSON.stringify(data)) <= REFUSAL_BYTES_MAX;
  events?.refuse?.({ code, message: answer.detail, ...(isShort ? { data } : {}) });
  return answer;
}

type RpcError = { kind: 'error'; code: number; message: string; data?: Json };

const REFUSAL_BYTES_MAX = 4 * 1024;

/** MCP 2026-07-28, "Multi Round-Trip Requests": the caller answers by calling again. */
function askForInput(result: JsonObject, events: ServerEvents | undefined): ToolAnswer {
  if (Buffer.byteLength(JSON.stringify(result)) > NEEDED_INPUT_BYTES_MAX)
    return fail('protocol', `The tool asked for input in more than ${NEEDED_INPUT_BYTES_MAX} bytes.`);
  events?.needInput?.(result);
  return fail('input-required', 'The tool needs something of its caller first.');
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

function fail(reason: FailureReason, detail: string): Extract<ToolAnswer, { kind: 'failed' }> {
  return { kind: 'failed', reason, detail: toPublicDetail(detail) };
}
