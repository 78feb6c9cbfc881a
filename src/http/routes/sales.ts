import { Hono } from 'hono';
import { z } from 'zod';
import type { Uuid } from '../../core/ids.ts';
import { toWireNumber } from '../../core/money.ts';
import { Problem } from '../../core/problem.ts';
import { listSales, summarizeSales } from '../../gateway/index.ts';
import { requirePrincipal } from '../auth.ts';
import { describeIssues } from '../body.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';

const SALES_MAX = 500;
const tool = z.string().min(1).max(300);
const listSchema = z.strictObject({
  tool,
  after: z.string().max(200).optional(),
  limit: z.coerce.number().int().min(1).max(SALES_MAX).default(100),
});
const summarySchema = z.strictObject({ tool: tool.optional() });
const positionSchema = z.tuple([z.string().max(64), z.string().regex(/^(?:0|[1-9][0-9]{0,17})$/)]);

/** What a publisher sold, receipt by receipt and in sums, to be held against the receipts log. */
export function salesRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.get('/v1/sales', (c) => getSales(deps, c));
  const summing = new Set<Uuid>();
  app.get('/v1/sales/summary', (c) => getSummary(deps, summing, c));
  return app;
}

async function getSales(deps: HttpDeps, c: Ctx): Promise<Response> {
  const principal = await requirePrincipal(deps, c, 'publish');
  const query = readQuery(c, listSchema);
  const { server, sales } = await listSales(deps, {
    publisherId: principal.publisherId,
    idOrName: query.tool,
    after: query.after === undefined ? { lane: '', seq: 0n } : decodePosition(query.after),
    salesMax: query.limit,
  });
  const last = sales.length < query.limit ? undefined : sales.at(-1)?.payload;
  c.header('cache-control', 'no-store');
  return c.json({
    ok: true,
    tool: { id: server.id, name: server.name },
    sales: sales.map(({ payload, log }) => ({ receipt: payload, log: log ?? null })),
    ...(last && { next_cursor: encodePosition(last) }),
  });
}

async function getSummary(deps: HttpDeps, summing: Set<Uuid>, c: Ctx): Promise<Response> {
  const principal = await requirePrincipal(deps, c, 'publish');
  const query = readQuery(c, summarySchema);
  const { publisherId = principal.keyId } = principal;
  if (summing.has(publisherId)) {
    throw new Problem('too-many-requests', {
      detail: 'Your sales are being summed up already, which reads all of them: once at a time.',
      retryAfterSeconds: 1,
      isUncharged: true,
    });
  }
  summing.add(publisherId);
  const summaries = await summarizeSales(deps, {
    ...{ publisherId: principal.publisherId, idOrName: query.tool },
  }).finally(() => summing.delete(publisherId));
  c.header('cache-control', 'no-store');
  return c.json({
    ok: true,
    tools: summaries.map(({ server, count, net, fees, lanes }) => ({
      ...{ id: server.id, name: server.name, count: Number(count) },
      gross_mcents: toWireNumber(net + fees),
      fees_mcents: toWireNumber(fees),
      net_mcents: toWireNumber(net),
      lanes: lanes.map(({ lane, lastSeq }) => ({ lane, last_seq: Number(lastSeq) })),
    })),
  });
}

function readQuery<T>(c: Ctx, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(c.req.query());
  if (parsed.success) return parsed.data;
  throw new Problem('malformed-request', { detail: describeIssues(parsed.error), isUncharged: true });
}

function encodePosition({ lane, seq }: { lane: string; seq: number }): string {
  return Buffer.from(JSON.stringify([lane, String(seq)])).toString('base64url');
}

function decodePosition(cursor: string): { lane: string; seq: bigint } {
  const parsed = positionSchema.safeParse(parseCursor(cursor));
  // No text in the database holds the character 0, and asking for one breaks the statement.
  if (!parsed.success || parsed.data[0].includes('\0')) {
    throw new Problem('malformed-request', { detail: 'after: send next_cursor as it was answered.' });
  }
  const [lane, seq] = parsed.data;
  return { lane, seq: BigInt(seq) };
}

function parseCursor(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    // Not ours: the schema refuses what is not there.
    return undefined;
  }
}
