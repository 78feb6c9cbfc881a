import { toWireNumber } from '../../core/money.ts';
import type { ToolDefinition } from '../../execution/index.ts';
import type { ServedMcp } from '../../gateway/index.ts';
import type { JsonObject } from './json-rpc.ts';
import { invalidParams } from './json-rpc.ts';
import { portray } from './served.ts';

/** `tools/list` (MCP, "Tools: Listing Tools") out of the catalog: the tools that were logged, with today's prices. */
export function listTools(served: ServedMcp, params: JsonObject): JsonObject {
  // All of a server's tools fit on one page, so nobody was ever given a cursor.
  if (params.cursor !== undefined) throw invalidParams('The cursor is not one of ours.');
  return { tools: portray(served).tools.map((tool) => describeTool(served, tool)) };
}

function describeTool(served: ServedMcp, tool: ToolDefinition): JsonObject {
  if (served.kind === 'built-in') return { ...tool };
  const { _meta, ...definition } = tool;
  const price = served.listing.priceOf(tool.name);
  return { ...definition, _meta: { ..._meta, 'millicent/price-mcents': toWireNumber(price) } };
}
