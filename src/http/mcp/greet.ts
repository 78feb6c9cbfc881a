import { type Client, STATELESS_VERSIONS } from './era.ts';
import type { JsonObject } from './json-rpc.ts';
import {
  type CacheHints,
  type Portrait,
  toCapabilities,
  toGatewayMeta,
  toServerInfo,
  toStatelessCapabilities,
  toStatelessResult,
} from './served.ts';

/** A version never changes, but its prices may, and a newer version may take its place. */
export const LISTED: CacheHints = { ttlMs: 60_000, cacheScope: 'public' };

/** The answer to `initialize` (MCP 2025-11-25, "Lifecycle"), from what the server said when it was published. */
export function initialize(portrait: Portrait, { face }: Client, gatewayVersion: string): JsonObject {
  return {
    protocolVersion: face.protocolVersion,
    capabilities: toCapabilities(portrait),
    serverInfo: toServerInfo(portrait),
    ...toInstructions(portrait),
    _meta: toGatewayMeta(portrait, gatewayVersion),
  };
}

/** The answer to `server/discover` (MCP 2026-07-28, "Discovery"). */
export function discover(portrait: Portrait, gatewayVersion: string): JsonObject {
  const described = {
    supportedVersions: [...STATELESS_VERSIONS],
    capabilities: toStatelessCapabilities(portrait),
    ...toInstructions(portrait),
    _meta: toGatewayMeta(portrait, gatewayVersion),
  };
  return toStatelessResult(portrait, described, LISTED);
}

function toInstructions({ face }: Portrait): JsonObject {
  return face.instructions === undefined ? {} : { instructions: face.instructions };
}
