import type { ServerFace, ToolDefinition } from '../../execution/index.ts';
import { hashBuiltIn, type ServedMcp } from '../../gateway/index.ts';
import { META } from './era.ts';
import { isObject, type JsonObject } from './json-rpc.ts';

/** What both kinds of servers say of themselves. */
export type Portrait = {
  name: string;
  version: string;
  face: ServerFace;
  tools: readonly ToolDefinition[];
  /** What pins the tools, hex. */
  toolsHash: string;
};

export function portray(served: ServedMcp): Portrait {
  if (served.kind === 'built-in') return { ...served.server, toolsHash: hashBuiltIn(served.server) };
  const { server, version, tools } = served.listing;
  const { face, toolsHash } = version;
  return { name: server.name, version: version.version, face, tools, toolsHash };
}

/** The server's own name of itself where it gave one, else its name in the catalog (MCP, `Implementation`). */
export function toServerInfo({ name, version, face }: Portrait): JsonObject {
  const { info } = face;
  const hasOwn = typeof info.name === 'string' && typeof info.version === 'string';
  return hasOwn ? info : { name, version };
}

/** Which gateway answers, and under which name and version it knows the server. */
export function toGatewayMeta({ name, version }: Portrait, gatewayVersion: string): JsonObject {
  return {
    'millicent/gateway': { name: 'millicent', version: gatewayVersion, server: name, serves: version },
  };
}

/**
 * The server's capabilities as far as they hold here. Each call starts a server of its own at a version that never
 * changes, so no list changes and no task outlives its call; tools are there whatever it declared, as the catalog
 * answers for them.
 */
export function toCapabilities({ face }: Portrait): JsonObject {
  const { tasks: _, extensions, ...declared } = face.capabilities;
  const kept: JsonObject = {};
  for (const [name, capability] of Object.entries(declared)) {
    if (!isObject(capability)) continue;
    const { listChanged: _listChanged, ...rest } = capability;
    kept[name] = rest;
  }
  kept.tools = {};
  const others = isObject(extensions) ? withoutTasks(extensions) : {};
  return Object.keys(others).length === 0 ? kept : { ...kept, extensions: others };
}

/** In the stateless era there are no subscriptions but `subscriptions/listen`, and levels come with each request. */
export function toStatelessCapabilities(portrait: Portrait): JsonObject {
  const { logging: _, resources, ...capabilities } = toCapabilities(portrait);
  if (!isObject(resources)) return capabilities;
  const { subscribe: _subscribe, ...rest } = resources;
  return { ...capabilities, resources: rest };
}

function withoutTasks(extensions: JsonObject): JsonObject {
  const { 'io.modelcontextprotocol/tasks': _, ...others } = extensions;
  return others;
}

/** A result as 2026-07-28 wants it: with its `resultType`, and who it is from. */
export function toStatelessResult(portrait: Portrait, result: JsonObject, cache?: CacheHints): JsonObject {
  const meta = isObject(result._meta) ? result._meta : {};
  return {
    resultType: 'complete',
    ...cache,
    ...result,
    _meta: { [META.serverInfo]: toServerInfo(portrait), ...meta },
  };
}

/** How long a result may be kept, and for whom (MCP 2026-07-28, "Caching"). */
export type CacheHints = { ttlMs: number; cacheScope: 'public' | 'private' };
