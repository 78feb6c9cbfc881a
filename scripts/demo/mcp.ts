import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { z } from 'zod';
import type { CallAnswer } from './http.ts';
import { must } from './must.ts';
import type { Stage } from './stage.ts';

/** The stock MCP client, connected to one server of the gateway. */
export type McpConnection = {
  /** How the server introduces itself. */
  serverName: string;
  /** What each tool costs, millicents, as `tools/list` says it. */
  prices: Map<string, number>;
  call(tool: string, args: Record<string, unknown>, meta?: Record<string, unknown>): Promise<McpResult>;
  close(): Promise<void>;
};
export type McpResult = z.infer<typeof resultSchema>;

const priceSchema = z.looseObject({ 'millicent/price': z.looseObject({ amount_mcents: z.int() }) });
const resultSchema = z.looseObject({
  isError: z.boolean().optional(),
  content: z.array(z.looseObject({ text: z.string().optional() })),
  structuredContent: z.record(z.string(), z.unknown()).optional(),
  _meta: z.record(z.string(), z.unknown()).default({}),
});

/** Connects `@modelcontextprotocol/sdk` as published on npm; a key goes into its transport's headers. */
export async function connectMcp({ info }: Stage, server: string, key?: string): Promise<McpConnection> {
  const client = new Client({ name: 'millicent-demo', version: '1.0.0' });
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const url = new URL(`${info.url}/mcp/${encodeURIComponent(server)}`);
  const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers } });
  // The SDK's own types are not exact about optional members.
  await client.connect(transport as unknown as Parameters<Client['connect']>[0]);
  const { tools } = await client.listTools();
  const prices = tools.flatMap(({ name, _meta }): [string, number][] => {
    const price = priceSchema.safeParse(_meta);
    return price.success ? [[name, price.data['millicent/price'].amount_mcents]] : [];
  });
  return {
    serverName: client.getServerVersion()?.name ?? 'unnamed',
    prices: new Map(prices),
    async call(name, args, meta) {
      return resultSchema.parse(
        await client.callTool({ name, arguments: args, ...(meta ? { _meta: meta } : {}) }),
      );
    },
    close: () => client.close(),
  };
}

/** What a delivered call answered, in the words of `POST /invoke`. */
export function toCallAnswer({ _meta, ...result }: McpResult): CallAnswer {
  const { structuredContent } = result;
  must(!result.isError && structuredContent, `the call is delivered: ${result.content[0]?.text}`);
  const charge = z
    .looseObject({ 'millicent/charged-mcents': z.int(), 'millicent/receipt-id': z.string().optional() })
    .parse(_meta);
  const receiptId = charge['millicent/receipt-id'];
  return {
    ...{ ok: true, result: { ...result, structuredContent } },
    charged_mcents: charge['millicent/charged-mcents'],
    ...(receiptId === undefined ? {} : { receipt_id: receiptId }),
  };
}
