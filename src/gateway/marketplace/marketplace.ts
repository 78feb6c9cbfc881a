import type { z } from 'zod';
import { type Listing, toSummaryJson } from '../../catalog/index.ts';
import type { Json } from '../../core/canonical-json.ts';
import { formatDollars, toWireNumber } from '../../core/money.ts';
import { Problem } from '../../core/problem.ts';
import type { CallToolResult, ServerFace } from '../../execution/index.ts';
import type { Carried } from '../../payments/index.ts';
import type { GatewayDeps } from '../deps.ts';
import { answerEarlierCall } from '../earlier-call.ts';
import { paidCall } from '../paid-call.ts';
import { resolveSale } from '../resolve-sale.ts';
import type { BuiltInContext, BuiltInServer } from '../serve-mcp.ts';
import { tellListing } from '../tell-listing.ts';
import { INPUTS, isMarketplaceTool, MARKETPLACE_TOOLS, type MarketplaceTool } from './tools.ts';
import { createVersionVerifier } from './verify-version.ts';

type Handlers = {
  [Name in MarketplaceTool]: (
    input: z.infer<(typeof INPUTS)[Name]>,
    caller: BuiltInContext,
  ) => Promise<Record<string, unknown>>;
};

const FACE_VERSION = '1.0.0';
const FACE: ServerFace = {
  capabilities: { tools: {} },
  info: { name: 'millicent', title: 'Millicent', version: FACE_VERSION },
  instructions:
    'Find MCP servers with search_mcps, look at one with get_mcp, and call a tool of it with call_tool, which pays for delivered results from your bearer key.',
};

/** The marketplace as a tool in its own catalog. `call_tool` pays from the caller's key, the rest is free. */
export function createMarketplace(deps: GatewayDeps): BuiltInServer {
  const verify = createVersionVerifier(deps);
  const handlers: Handlers = {
    async search_mcps(input) {
      const { servers, nextCursor } = await deps.catalog.search(input);
      return { servers: servers.map(toSummaryJson), ...(nextCursor ? { next_cursor: nextCursor } : {}) };
    },
    get_mcp: async (input) => tellListing(deps, await findListing(deps, input)),
    get_price: async (input) => tellPrice(await findListing(deps, input), input.tool),
    call_tool: (input, caller) => callTool(deps, input, caller),
    async get_receipt({ receipt_id }) {
      const issued = await deps.receipts.getReceipt(receipt_id);
      if (!issued) throw new Problem('not-found', { detail: 'There is no receipt with this id.' });
      return { receipt: issued.payload, jws: issued.jws, ...(issued.batch ? { batch: issued.batch } : {}) };
    },
    verify_version: async (input) => ({ ...(await verify(await findListing(deps, input))) }),
  };
  return {
    ...{ name: 'millicent', version: FACE_VERSION, face: FACE },
    tools: MARKETPLACE_TOOLS,
    async call(name, given, caller) {
      if (!isMarketplaceTool(name)) {
        throw new Problem('invalid-arguments', { detail: `millicent has no tool "${name.slice(0, 64)}".` });
      }
      return toResult(await dispatch(handlers, name, given, caller));
    },
  };
}

/** The schema of a name parses what its handler takes. */
function dispatch<Name extends MarketplaceTool>(
  handlers: Handlers,
  name: Name,
  given: { [key: string]: Json },
  caller: BuiltInContext,
): Promise<Record<string, unknown>> {
  const parsed = INPUTS[name].safeParse(given);
  if (parsed.success) return handlers[name](parsed.data as z.infer<(typeof INPUTS)[Name]>, caller);
  const [issue] = parsed.error.issues;
  throw new Problem('invalid-arguments', {
    detail: `arguments${(issue?.path ?? []).map((part) => `/${String(part)}`).join('')}: ${issue?.message ?? 'do not match the schema'}.`,
    isUncharged: true,
  });
}

async function findListing(
  { catalog }: Pick<GatewayDeps, 'catalog'>,
  { server, version }: { server: string; version?: string | undefined },
): Promise<Listing> {
  const listing = await catalog.findListing(server, version);
  if (listing) return listing;
  throw new Problem('not-found', {
    detail: 'There is no server with this id or name, or no such version of it.',
  });
}

function tellPrice(listing: Listing, tool: string): Record<string, unknown> {
  if (!listing.tools.some(({ name }) => name === tool)) {
    throw new Problem('invalid-arguments', { detail: `${listing.server.name} has no tool of that name.` });
  }
  const price = listing.priceOf(tool);
  const free = listing.freeAllowanceOf(tool);
  return {
    ...{ server: listing.server.name, tool, version: listing.version.version },
    ...{ price_mcents: toWireNumber(price), price_usd: formatDollars(price), settle: listing.settle },
    ...(free ? { free: { first: free.first, per_day: free.perDay } } : {}),
  };
}

async function callTool(
  deps: GatewayDeps,
  input: z.infer<(typeof INPUTS)['call_tool']>,
  { principal, carried, client, wantsReceipt, ...ctx }: BuiltInContext,
): Promise<Record<string, unknown>> {
  if (!principal) {
    throw new Problem('unauthorized', {
      detail: 'call_tool pays from a bearer key: send one as "Authorization: Bearer mcp_...".',
      isUncharged: true,
    });
  }
  const { server, tool, version, arguments: given = {}, allow_network: allowNetwork } = input;
  const expectToolsHash = input.expect_tools_hash?.slice('sha256:'.length);
  const call = { server, tool, version, arguments: given, allowNetwork, expectToolsHash };
  const idempotencyKey = input.idempotency_key ?? ctx.idempotencyKey;
  const paying = { principal, carried: withoutCredential(carried), idempotencyKey, wantsReceipt };
  const answer = await resolveSale(deps, call).then(
    (sale) => paidCall(deps, { ...paying, sale }, client),
    (cause: unknown) => answerEarlierCall(deps, { ...paying, call, cause }, client),
  );
  if (answer instanceof Problem) throw answer;
  return {
    result: answer.result,
    charged_mcents: toWireNumber(answer.charged),
    ...(answer.receiptId ? { receipt_id: answer.receiptId } : {}),
    ...(answer.receipt ? { receipt: answer.receipt } : {}),
    ...(answer.balance === undefined ? {} : { balance_mcents: toWireNumber(answer.balance) }),
  };
}

/** A credential that came with the request was made for the request, and not for the call inside it. */
function withoutCredential({ method, address }: Carried): Carried {
  return { method, address, header: () => undefined };
}

function toResult(value: Record<string, unknown>): CallToolResult {
  // A copy as plain JSON: dates become text, and what is undefined is left out.
  const structuredContent: { [key: string]: Json } = JSON.parse(JSON.stringify(value));
  return { content: [{ type: 'text', text: JSON.stringify(structuredContent) }], structuredContent };
}
