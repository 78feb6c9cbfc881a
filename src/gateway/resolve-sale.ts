import type { Listing, Version } from '../catalog/index.ts';
import type { Json } from '../core/canonical-json.ts';
import { Problem } from '../core/problem.ts';
import {
  type Caller,
  type ClientFace,
  DEFAULT_LIMITS,
  type Limits,
  type LogLevel,
  type Outcome,
  type ServerEvents,
  type ServerRef,
  type ToolDefinition,
} from '../execution/index.ts';
import { opaquePayer } from '../provenance/index.ts';
import { PLATFORM_PUBLISHER } from './built-in.ts';
import type { GatewayDeps } from './deps.ts';
import { type CallRequest, hashRequest, type RunTerms, type Sale, STRANGER } from './sale.ts';

export type CallInput = {
  /** A server's id or its name. */
  server: string;
  tool: string;
  arguments: { [key: string]: Json };
  version?: string | undefined;
  /** The caller lets the tool reach the hosts that it declares. */
  allowNetwork?: boolean | undefined;
  /**
   * The hash of the tools that the caller knows, hex: other tools refuse the call before any payment talk. A condition
   * on the call and no part of it, so no hash or digest covers it, and what was paid for is answered whatever it says.
   */
  expectToolsHash?: string | undefined;
  /** What a call over MCP brings besides. */
  mcp?: McpCall | undefined;
};

/** Who asks, and what a server may tell and ask them while the call runs. */
export type McpCall = {
  client: ClientFace;
  events: ServerEvents;
  /** The request's `_meta` without what is ours: no credential ever reaches a tool. */
  meta: { [key: string]: Json } | undefined;
  /** What an earlier answer asked for: `inputResponses` and `requestState` (MCP 2026-07-28). */
  further: { [key: string]: Json } | undefined;
  /** How much of its log the client wants to read; undefined when it did not say. */
  logLevel?: LogLevel | undefined;
};

const TOOLS_NAMED_MAX = 20;

/**
 * Finds what a call wants and checks that it could be delivered, all before any payment talk: server, tool,
 * arguments against the tool's own schema, and a place in the sandbox to run it in.
 */
export async function resolveSale(deps: GatewayDeps, input: CallInput): Promise<Sale> {
  const listing = await deps.catalog.findListing(input.server, input.version);
  if (!listing) {
    throw new Problem('not-found', {
      detail: 'There is no server with this id or name, or no such version of it.',
    });
  }
  refuseBuiltIn(listing);
  refuseYanked(listing);
  refuseOtherTools(listing, input.expectToolsHash);
  const tool = findTool(listing, input.tool);
  const validation = deps.execution.validateArguments(tool.inputSchema, input.arguments);
  if (validation.kind === 'invalid') {
    throw new Problem('invalid-arguments', { detail: validation.detail, isUncharged: true });
  }
  refusePaused(listing);
  const { endpointUrl } = listing.version;
  // A publisher's own server needs none of our jails.
  if (endpointUrl === null) await requirePlace(deps, listing);
  else refuseOutage(deps, endpointUrl);
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

function toRequest(server: string, input: CallInput): CallRequest {
  const { tool, arguments: given, version, allowNetwork, mcp } = input;
  return {
    ...{ server, tool, arguments: given },
    ...(version === undefined ? {} : { version }),
    ...(allowNetwork ? { network: true } : {}),
    ...(mcp?.further ? { further: mcp.further } : {}),
  };
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

/** The marketplace's own tools run in this process, by their own door. */
function refuseBuiltIn({ server }: Listing): void {
  if (server.publisherId !== PLATFORM_PUBLISHER) return;
  throw new Problem('invalid-arguments', {
    detail: `${server.name} is the marketplace itself: call its tools at /mcp/${server.name} or /invoke/${server.name}.`,
    isUncharged: true,
  });
}

/** Nothing new starts on what its publisher took back; what was paid for it before is still answered. */
export function refuseYanked({
  server,
  version,
  yankedAt,
}: Pick<Listing, 'server' | 'version' | 'yankedAt'>): void {
  if (!yankedAt) return;
  throw new Problem('yanked', {
    detail: `${server.name} ${version.version} was yanked by its publisher on ${yankedAt.toISOString().slice(0, 10)}. Leave "version" out to call the newest that is left, if any is.`,
    members: { version: version.version, yanked_at: yankedAt },
    isUncharged: true,
  });
}

/** The version that would run offers exactly the tools that its caller expects, or nothing of it runs. */
export function refuseOtherTools(
  { server, version }: { server: { name: string }; version: { version: string; toolsHash: string } },
  expected: string | undefined,
): void {
  if (expected === undefined || expected === version.toolsHash) return;
  throw new Problem('tools-changed', {
    detail: `The tools of ${server.name} ${version.version} are not the ones you expect. Look at them again, and send the hash that tools/list or the listing tells, or pin the version that you know.`,
    members: {
      expected: `sha256:${expected}`,
      tools_hash: `sha256:${version.toolsHash}`,
      version: version.version,
    },
    isUncharged: true,
  });
}

export function refusePaused({ server }: Listing): void {
  if (!server.paused) return;
  throw new Problem('unavailable', {
    detail: `${server.name} is paused: ${server.paused.reason}`,
    retryAfterSeconds: 3_600,
    isUncharged: true,
  });
}

/** Nobody is asked to pay for a call that would not be made. */
function refuseOutage({ execution }: Pick<GatewayDeps, 'execution'>, endpointUrl: string): void {
  const outage = execution.findOutage(endpointUrl);
  if (outage === undefined) return;
  throw new Problem('unavailable', { ...outage, isUncharged: true });
}

async function requirePlace(
  { execution }: Pick<GatewayDeps, 'execution'>,
  { server }: Listing,
): Promise<void> {
  const status = await execution.status();
  if (status.kind !== 'ready')
    throw new Problem('unavailable', { detail: status.detail, retryAfterSeconds: 60, isUncharged: true });
  // Asking for a payment, or setting money aside and giving it back, costs more than all the rest of a refusal.
  const full = execution.findRefusal(server.publisherId);
  if (full) throw full;
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
    runTimeoutMs: limitsOf(version).runTimeoutMs,
    repairedAt: server.updatedAt,
    run: (signal, terms) => runCall(deps, { listing, tool, input }, terms, signal),
  };
}

async function runCall(
  deps: GatewayDeps,
  { listing, tool, input }: { listing: Listing; tool: ToolDefinition; input: CallInput },
  terms: RunTerms,
  signal: AbortSignal,
): Promise<Outcome> {
  const { mcp } = input;
  const request = toRequest(listing.server.name, input);
  return deps.execution.run(
    {
      server: await toServerRef(deps, listing, input),
      request: {
        method: 'tools/call',
        params: {
          ...{ name: tool.name, arguments: input.arguments },
          ...mcp?.further,
          ...(mcp?.meta ? { _meta: mcp.meta } : {}),
        },
      },
      client: mcp?.client,
      logLevel: mcp?.logLevel,
      events: mcp && (terms.mayStream ? mcp.events : onlyProgress(mcp.events)),
      caller: await toCaller(deps, listing, terms, hashRequest(request).toString('hex')),
      outputSchema: tool.outputSchema,
    },
    signal,
  );
}

/** Where a listed server is to be had, for one caller. */
export async function toServerRef(
  deps: Pick<GatewayDeps, 'catalog'>,
  { server, version }: Listing,
  { allowNetwork }: Pick<CallInput, 'allowNetwork'>,
): Promise<ServerRef> {
  const { endpointUrl, hosts } = version;
  const limits = limitsOf(version);
  if (endpointUrl !== null) return { kind: 'remote', serverId: server.id, endpoint: endpointUrl, limits };
  const code = await deps.catalog.loadCode(version);
  const { publisherId } = server;
  return { kind: 'hosted', code, limits, publisherId, hosts: allowNetwork ? hosts : [] };
}

export function limitsOf({ limits }: Pick<Version, 'limits'>): Limits {
  return { ...DEFAULT_LIMITS, ...limits };
}

async function toCaller(
  deps: Pick<GatewayDeps, 'payerSalt'>,
  { server, version }: Listing,
  terms: RunTerms,
  requestDigest: string,
): Promise<Caller | undefined> {
  if (version.endpointUrl === null) return undefined;
  const payer = await terms.payer();
  const subject = opaquePayer(deps.payerSalt, `${server.id} ${payer}`);
  const tier = terms.paidBy === 'nobody' ? 'free' : terms.paidBy;
  return { subject, tier, requestDigest, isStranger: payer === STRANGER };
}

/** While it is open whether money comes, how far a call has come is told, and nothing that could be its content. */
function onlyProgress(events: ServerEvents): ServerEvents {
  return {
    notify({ method, params }) {
      if (method !== 'notifications/progress') return;
      const { progressToken, progress, total } = params;
      if (progressToken === undefined || typeof progress !== 'number') return;
      const told = { progressToken, progress, ...(typeof total === 'number' ? { total } : {}) };
      events.notify({ method, params: told });
    },
  };
}
