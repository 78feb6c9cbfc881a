import type { Listing } from '../catalog/index.ts';
import type { Json } from '../core/canonical-json.ts';
import { Problem } from '../core/problem.ts';
import { DEFAULT_LIMITS, type ToolDefinition } from '../execution/index.ts';
import type { GatewayDeps } from './deps.ts';
import type { CallRequest, Sale } from './sale.ts';

export type CallInput = {
  /** A server's id or its name. */
  server: string;
  tool: string;
  arguments: { [key: string]: Json };
  version?: string | undefined;
};

const TOOLS_NAMED_MAX = 20;

/**
 * Finds what a call wants and checks that it could be delivered, all before any payment talk: server, tool,
 * arguments against the tool's own schema, and a sandbox to run it in.
 */
export async function resolveSale(deps: GatewayDeps, input: CallInput): Promise<Sale> {
  const listing = await deps.catalog.findListing(input.server, input.version);
  if (!listing) {
    throw new Problem('not-found', {
      detail: 'There is no server with this id or name, or no such version of it.',
    });
  }
  const tool = findTool(listing, input.tool);
  const validation = deps.execution.validateArguments(tool.inputSchema, input.arguments);
  if (validation.kind === 'invalid') {
    throw new Problem('invalid-arguments', { detail: validation.detail, isUncharged: true });
  }
  refusePaused(listing);
  await requireSandbox(deps);
  return toSale(deps, listing, tool, input);
}

/** What a call is known by, whether or not it could be sold now. */
export async function nameCall(
  deps: Pick<GatewayDeps, 'catalog' | 'settings'>,
  input: CallInput,
): Promise<Pick<Sale, 'request' | 'resource'>> {
  const listing = await deps.catalog.findListing(input.server);
  const server = listing?.server.name ?? input.server;
  return { request: toRequest(server, input), resource: toResource(deps, server, input.tool) };
}

function toRequest(server: string, { tool, arguments: given, version }: CallInput): CallRequest {
  return { server, tool, arguments: given, ...(version === undefined ? {} : { version }) };
}

function toResource({ settings }: Pick<GatewayDeps, 'settings'>, server: string, tool: string) {
  return {
    url: `${settings.publicUrl}/invoke/${encodeURIComponent(server)}`,
    description: `One call of ${tool} of ${server}`,
  };
}

function findTool(listing: Listing, name: string): ToolDefinition {
  const tool = listing.tools.find((candidate) => candidate.name === name);
  if (tool) return tool;
  const offered = listing.tools.slice(0, TOOLS_NAMED_MAX).map((candidate) => candidate.name);
  throw new Problem('invalid-arguments', {
    detail: `${listing.server.name} has no tool of that name. It offers: ${offered.join(', ')}.`,
    isUncharged: true,
  });
}

function refusePaused({ server }: Listing): void {
  if (!server.paused) return;
  throw new Problem('unavailable', {
    detail: `${server.name} is paused: ${server.paused.reason}`,
    retryAfterSeconds: 3_600,
    isUncharged: true,
  });
}

async function requireSandbox(deps: Pick<GatewayDeps, 'execution'>): Promise<void> {
  const status = await deps.execution.status();
  if (status.kind === 'ready') return;
  throw new Problem('unavailable', { detail: status.detail, retryAfterSeconds: 60, isUncharged: true });
}

function toSale(deps: GatewayDeps, listing: Listing, tool: ToolDefinition, input: CallInput): Sale {
  const { server, version } = listing;
  return {
    request: toRequest(server.name, input),
    ...{ toolId: server.id, versionId: version.id, version: version.version, payeeId: server.publisherId },
    tier: server.tier === 'pro' ? 'self-hosted' : 'hosted',
    price: listing.priceOf(tool.name),
    settle: listing.settle,
    freeAllowance: listing.freeAllowanceOf(tool.name),
    scope: 'invoke',
    resource: toResource(deps, server.name, tool.name),
    isInstant: false,
    runTimeoutMs: DEFAULT_LIMITS.runTimeoutMs,
    repairedAt: server.updatedAt,
    async run(signal) {
      const code = await deps.catalog.loadCode(version);
      const call = { toolName: tool.name, arguments: input.arguments, outputSchema: tool.outputSchema };
      return deps.execution.run({ code, limits: DEFAULT_LIMITS, ...call }, signal);
    },
  };
}
