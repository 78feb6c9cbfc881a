import { z } from 'zod';
import { canonicalJson, type Json } from '../../core/canonical-json.ts';
import type { ToolDefinition } from '../../execution/index.ts';

const server = z
  .string()
  .min(1)
  .max(200)
  .describe('The id or the name of a server, such as "acme/text-stats".');
const version = z.string().min(1).max(64).optional().describe('One exact version; the newest when left out.');
const tool = z.string().min(1).max(128).describe('The name of a tool of that server.');
const jsonObject = z.record(z.string(), z.json());

/** What each tool takes. The JSON Schemas that clients see are made of these. */
export const INPUTS = {
  search_mcps: z.strictObject({
    q: z.string().max(200).optional().describe('Words that name, description, categories or tools hold.'),
    category: z.string().max(32).optional(),
    tier: z
      .enum(['hobbyist', 'pro'])
      .optional()
      .describe('"hobbyist" is hosted here, "pro" by its publisher.'),
    sort: z.enum(['new', 'name', 'price']).optional(),
    limit: z.int().min(1).max(100).optional(),
    cursor: z.string().max(500).optional().describe('The next_cursor of the page before.'),
  }),
  get_mcp: z.strictObject({ server, version }),
  get_price: z.strictObject({ server, tool, version }),
  call_tool: z.strictObject({
    ...{ server, tool, version },
    arguments: jsonObject.optional().describe("Arguments by the tool's own inputSchema (see get_mcp)."),
    expect_tools_hash: z
      .string()
      .regex(/^sha256:[0-9a-f]{64}$/)
      .optional()
      .describe('The tools_hash that get_mcp told: other tools refuse the call, and nothing is charged.'),
    allow_network: z.boolean().optional().describe('Lets the tool reach the hosts that it declares.'),
    idempotency_key: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe('The same key and arguments again get the stored answer and pay nothing.'),
  }),
  get_receipt: z.strictObject({ receipt_id: z.uuid() }),
  verify_version: z.strictObject({ server, version }),
} as const;

export type MarketplaceTool = keyof typeof INPUTS;

const TEXTS: Record<MarketplaceTool, { title: string; description: string; isReadOnly: boolean }> = {
  search_mcps: {
    title: 'Search MCP servers',
    description:
      'Finds servers that are for sale by words, category and tier, with the prices of their tools.',
    isReadOnly: true,
  },
  get_mcp: {
    title: 'Look at one MCP server',
    description: 'One server with its tools, their schemas and prices, and the hash of the code behind it.',
    isReadOnly: true,
  },
  get_price: {
    title: 'Ask what a call costs',
    description: 'What one call of a tool costs now, in millicents ($1 = 100,000) and dollars.',
    isReadOnly: true,
  },
  call_tool: {
    title: 'Call a tool and pay for it',
    description:
      "Calls a tool of any listed server and pays for a delivered result from the caller's bearer key. A call that fails costs nothing.",
    isReadOnly: false,
  },
  get_receipt: {
    title: 'Get a receipt',
    description:
      'The signed receipt of a paid call: which code ran, what was asked and answered, and what it cost.',
    isReadOnly: true,
  },
  verify_version: {
    title: 'Verify a version',
    description:
      "Computes the hashes of a version's stored code and manifest again and compares them with the public version log.",
    isReadOnly: true,
  },
};

/** The tools as `tools/list` shows them. */
export const MARKETPLACE_TOOLS: readonly ToolDefinition[] = Object.entries(INPUTS).map(([name, input]) => {
  const { title, description, isReadOnly } = TEXTS[name as MarketplaceTool];
  return {
    ...{ name, title, description },
    inputSchema: toSchema(input),
    annotations: { readOnlyHint: isReadOnly, openWorldHint: !isReadOnly },
  };
});

export function isMarketplaceTool(name: string): name is MarketplaceTool {
  return Object.hasOwn(INPUTS, name);
}

/** A copy as plain JSON: what zod makes carries members that no JSON has. */
function toSchema(input: z.ZodType): { [key: string]: Json } {
  return JSON.parse(canonicalJson(z.toJSONSchema(input, { io: 'input' })));
}
