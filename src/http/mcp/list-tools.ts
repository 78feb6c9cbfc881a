import type { ToolDefinition } from '../../execution/index.ts';
import type { PriceTag, ServedMcp } from '../../gateway/index.ts';
import { dropPaymentKeys } from './dialects/index.ts';
import { invalidParams, isObject, type JsonObject } from './json-rpc.ts';
import type { McpDeps } from './request.ts';
import { portray } from './served.ts';

/** `tools/list` (MCP, "Tools: Listing Tools") out of the catalog: the tools that were logged, with today's prices. */
export function listTools(
  deps: Pick<McpDeps, 'priceTags'>,
  served: ServedMcp,
  params: JsonObject,
): JsonObject {
  // All of a server's tools fit on one page, so nobody was ever given a cursor.
  if (params.cursor !== undefined) throw invalidParams('The cursor is not one of ours.');
  const { tools, toolsHash, version } = portray(served);
  // Over the definitions as they were logged, so without the prices below.
  const _meta = { 'millicent/tools-hash': `sha256:${toolsHash}`, 'millicent/version': version };
  if (served.kind === 'built-in') return { tools: tools.map((tool) => ({ ...tool })), _meta };
  const tags = deps.priceTags(served.listing);
  return { tools: tools.map((tool) => describeTool(tool, tags.get(tool.name))), _meta };
}

function describeTool({ _meta, ...definition }: ToolDefinition, tag: PriceTag | undefined): JsonObject {
  return { ...definition, _meta: { ...(isObject(_meta) ? dropPaymentKeys(_meta) : {}), ...tag } };
}
