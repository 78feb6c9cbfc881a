import { z } from 'zod';
import { receiptPayloadSchema } from '../../provenance/index.ts';
import type { Door } from './door.ts';

const count = z.int().nonnegative();

const summarySchema = z.object({
  tools: z.array(
    z.object({
      ...{ id: z.string(), name: z.string(), count, gross_mcents: count, fees_mcents: count },
      net_mcents: count,
      lanes: z.array(z.object({ lane: z.string(), last_seq: count })),
    }),
  ),
});
export type ToolSummary = z.infer<typeof summarySchema>['tools'][number];

const saleSchema = z.object({
  receipt: receiptPayloadSchema,
  log: z.object({ index: count, salt: z.string().regex(/^[0-9a-f]{32}$/) }).nullable(),
});
export type ListedSale = z.infer<typeof saleSchema>;
const pageSchema = z.object({ sales: z.array(saleSchema), next_cursor: z.string().optional() });

const PAGE_SALES = 500;

/** What the books say, by tool. */
export async function fetchSummary(door: Door, tool: string | undefined): Promise<ToolSummary[]> {
  const query = tool === undefined ? '' : `?tool=${encodeURIComponent(tool)}`;
  return read(summarySchema, await door.json(`/v1/sales/summary${query}`), 'the summary of sales').tools;
}

/** Every sale of a tool, page by page. */
export async function* fetchSales(door: Door, tool: string): AsyncGenerator<ListedSale> {
  const seen = new Set<string>();
  let cursor: string | undefined;
  do {
    const after = cursor === undefined ? '' : `&after=${encodeURIComponent(cursor)}`;
    const path = `/v1/sales?tool=${encodeURIComponent(tool)}&limit=${PAGE_SALES}${after}`;
    const page = read(pageSchema, await door.json(path), 'a page of sales');
    yield* page.sales;
    if (page.next_cursor !== undefined && page.sales.length === 0) {
      throw new Error('a page of sales is empty and not the last');
    }
    cursor = page.next_cursor;
    // A gateway that leads in a circle would keep an audit busy for good.
    if (cursor !== undefined && seen.has(cursor)) throw new Error('the pages of sales lead in a circle');
    if (cursor !== undefined) seen.add(cursor);
  } while (cursor !== undefined);
}

function read<T>(schema: z.ZodType<T>, json: unknown, what: string): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Error(
    `${what} is not as it should be at ${issue?.path.join('.') ?? '?'}: ${issue?.message ?? ''}`,
  );
}
