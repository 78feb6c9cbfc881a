import { hashTools, type Listing } from '../catalog/index.ts';
import { sha256Hex } from '../core/bytes.ts';
import { canonicalJson, type Json } from '../core/canonical-json.ts';
import { Problem } from '../core/problem.ts';
import { timeLimit } from '../core/time-limit.ts';
import type {
  Caller,
  CallToolResult,
  Exchange,
  Exchanged,
  ServerFace,
  ToolDefinition,
} from '../execution/index.ts';
import { hasScope, mayCall, type Principal } from '../keys/index.ts';
import type { Carried } from '../payments/index.ts';
import { opaquePayer } from '../provenance/index.ts';
import type { GatewayDeps } from './deps.ts';
import { limitsOf, refuseOtherTools, refusePaused, refuseYanked, toServerRef } from './resolve-sale.ts';
import { STRANGER } from './sale.ts';

/** A server of the gateway's own: it runs in this process and is in no catalog. */
export type BuiltInServer = {
  /** What `/mcp/{id}` finds it by, beside its id where it has one. */
  name: string;
  version: string;
  face: ServerFace;
  tools: readonly ToolDefinition[];
  /**
   * Calls one of `tools`; the arguments are not checked yet. It throws a `Problem`, or answers with an `isError`
   * result, for what it does not deliver; payment included.
   */
  call(name: string, input: { [key: string]: Json }, ctx: BuiltInContext): Promise<CallToolResult>;
};

/** Who calls a built-in tool, and what the request brings along. */
export type BuiltInContext = {
  principal: Principal | undefined;
  carried: Carried;
  idempotencyKey: string | undefined;
  /** The receipts of what it buys go inline. */
  wantsReceipt: boolean;
  /** Aborts when nobody waits for the answer any more. */
  client(): AbortSignal;
};

export type BuiltInServers = {
  find(idOrName: string): BuiltInServer | undefined;
};

const builtInHashes = new WeakMap<BuiltInServer['tools'], string>();

/** What pins the tools of one of our own, hex: the same hash that its listing tells. */
export function hashBuiltIn({ tools }: Pick<BuiltInServer, 'tools'>): string {
  const known = builtInHashes.get(tools) ?? hashTools(tools);
  builtInHashes.set(tools, known);
  return known;
}

export function refuseOtherBuiltIn(server: BuiltInServer, expected: string | undefined): void {
  const { name, version } = server;
  refuseOtherTools({ server: { name }, version: { version, toolsHash: hashBuiltIn(server) } }, expected);
}

/** What `/mcp/{id}` serves: a listed server at one version, or one of our own. */
export type ServedMcp = { kind: 'listed'; listing: Listing } | { kind: 'built-in'; server: BuiltInServer };

/** Finds a server by id or name, at its newest or at one exact version. Throws `Problem('not-found')`. */
export async function findMcpServer(
  deps: Pick<GatewayDeps, 'catalog'> & { builtIns?: BuiltInServers | undefined },
  input: { idOrName: string; version: string | undefined },
): Promise<ServedMcp> {
  const { idOrName, version } = input;
  const server = deps.builtIns?.find(idOrName);
  if (server && (version === undefined || version === server.version)) return { kind: 'built-in', server };
  const listing = server ? undefined : await deps.catalog.findListing(idOrName, version);
  if (listing) return { kind: 'listed', listing };
  throw new Problem('not-found', {
    detail: 'There is no server with this id or name, or no such version of it.',
    isUncharged: true,
  });
}

/** A request that is no call of a tool, such as `resources/read`. */
export type FreeExchange = Pick<Exchange, 'request' | 'client' | 'events' | 'logLevel'> & {
  listing: Listing;
  allowNetwork: boolean;
  /** Whose key came with it, and from where it came. */
  principal: Principal | undefined;
  address: string | undefined;
};

/** Asks a server what nobody pays for, in the share of the sandbox that free calls have. */
export async function exchangeFree(
  deps: Pick<GatewayDeps, 'catalog' | 'execution' | 'freeCalls' | 'freeEndpointCalls' | 'payerSalt'>,
  input: FreeExchange,
  signal: AbortSignal,
): Promise<Exchanged> {
  const { listing, allowNetwork, principal, address, request, client, events, logLevel } = input;
  if (principal) refuseStranger(principal, listing);
  refuseYanked(listing);
  refusePaused(listing);
  // A publisher's endpoint tells one account from another.
  const account = principal && `account:${principal.accountId}`;
  const requestDigest = sha256Hex('exchange', canonicalJson({ server: listing.server.name, ...request }));
  const subject = opaquePayer(deps.payerSalt, `${listing.server.id} ${account ?? STRANGER}`);
  const caller: Caller = { subject, tier: 'free', requestDigest, isStranger: account === undefined };
  const places = listing.version.endpointUrl === null ? deps.freeCalls : deps.freeEndpointCalls;
  return places.run(async () => {
    const server = await toServerRef(deps, listing, { allowNetwork });
    const bound = timeLimit(signal, limitsOf(listing.version).runTimeoutMs + EXCHANGE_SLACK_MS);
    return deps.execution.exchange({ server, request, client, events, logLevel, caller }, bound);
  }, account ?? address);
}

/** A key that may call none of a server's tools speaks to it in nobody's name, and least in its account's. */
function refuseStranger(principal: Principal, { server, tools }: Listing): void {
  const isAllowed = tools.some(({ name }) => mayCall(principal, { server: server.name, tool: name }));
  if (hasScope(principal, 'invoke') && isAllowed) return;
  throw new Problem('forbidden', {
    detail: `The key may not call ${server.name}. Without a key it answers this as well.`,
    isUncharged: true,
  });
}

/** For the wait for a place, before the server's own time begins. */
const EXCHANGE_SLACK_MS = 30_000;
