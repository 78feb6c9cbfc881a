import type { ClientFace } from '../../execution/index.ts';
import type { McpEra } from './dialects/index.ts';
import { CODE, isObject, type JsonObject, RpcFault, type RpcMessage } from './json-rpc.ts';
import { refuseMismatch } from './mirrored-headers.ts';
import type { McpSession, McpSessions } from './sessions.ts';
import { boundCapabilities, boundInfo } from './sessions.ts';

/** The revisions with a handshake, newest first. */
export const HANDSHAKE_VERSIONS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'] as const;
/** The revisions in which every request stands for itself. */
export const STATELESS_VERSIONS = ['2026-07-28'] as const;
/** What a request without the header means (MCP 2025-06-18, "Protocol Version Header"). */
const UNNAMED_VERSION = '2025-03-26';

export const META = {
  protocolVersion: 'io.modelcontextprotocol/protocolVersion',
  capabilities: 'io.modelcontextprotocol/clientCapabilities',
  clientInfo: 'io.modelcontextprotocol/clientInfo',
  serverInfo: 'io.modelcontextprotocol/serverInfo',
  logLevel: 'io.modelcontextprotocol/logLevel',
  subscriptionId: 'io.modelcontextprotocol/subscriptionId',
} as const;

/** Who sent a message and by which rules it is answered. */
export type Client = {
  era: McpEra;
  face: ClientFace;
  /** The session's id, where there is one: it tells one client from another. */
  sessionId: string | undefined;
};

export type Headers = (name: string) => string | undefined;

/**
 * Decides the era of a message (MCP 2026-07-28, "Versioning"): the body's own claim first, the header where the body
 * makes none. What header and body disagree on is refused.
 */
export function readClient(header: Headers, message: RpcMessage, sessions: McpSessions): Client {
  const named = header('mcp-protocol-version')?.trim();
  const isStateless = named !== undefined && isStatelessVersion(named);
  if (message.kind === 'response') return readHandshakeClient(header, named, sessions);
  const meta = isObject(message.params._meta) ? message.params._meta : undefined;
  const hasClaim = meta !== undefined && META.protocolVersion in meta;
  if (hasClaim || isStateless) {
    if (message.kind === 'notification') return readStatelessClient(header, message, meta ?? {});
    refuseIncomplete(meta, named);
    return readStatelessClient(header, message, meta ?? {});
  }
  if (message.kind === 'request' && message.method === 'initialize') return beforeHandshake(message.params);
  return readHandshakeClient(header, named, sessions);
}

function readStatelessClient(
  header: Headers,
  message: Exclude<RpcMessage, { kind: 'response' }>,
  meta: JsonObject,
): Client {
  const named = header('mcp-protocol-version')?.trim();
  const claimed = meta[META.protocolVersion] ?? named;
  if (named !== undefined && claimed !== named) {
    throw mismatch(`the body names protocol version ${claimed}, the MCP-Protocol-Version header ${named}`);
  }
  if (typeof claimed !== 'string' || !isStatelessVersion(claimed))
    throw unsupported(claimed, STATELESS_VERSIONS);
  if (message.kind === 'request') refuseMismatch(header, message);
  const { [META.capabilities]: capabilities, [META.clientInfo]: info } = meta;
  return {
    era: '2026',
    sessionId: undefined,
    face: {
      protocolVersion: claimed,
      capabilities: isObject(capabilities) ? boundCapabilities(capabilities) : {},
      info: boundInfo(isObject(info) ? info : {}),
    },
  };
}

/** A request of the stateless era carries all that a handshake would have said. */
function refuseIncomplete(meta: JsonObject | undefined, named: string | undefined): void {
  const missing = [META.protocolVersion, META.capabilities].filter((key) => !meta || !(key in meta));
  if (missing.length > 0) {
    const era = named === undefined ? 'This revision' : `Protocol version ${named}`;
    throw new RpcFault(
      {
        code: CODE.invalidParams,
        message: `${era} needs params._meta with ${missing.join(' and ')}.`,
        data: { missing },
      },
      400,
    );
  }
  const { [META.capabilities]: capabilities, [META.protocolVersion]: version } = meta ?? {};
  if (isObject(capabilities) && typeof version === 'string') return;
  throw new RpcFault({ code: CODE.invalidParams, message: 'params._meta has members of a wrong type.' }, 400);
}

function beforeHandshake(params: JsonObject): Client {
  const { capabilities, clientInfo, protocolVersion } = params;
  return {
    era: '2025',
    sessionId: undefined,
    face: {
      protocolVersion: negotiate(protocolVersion),
      capabilities: isObject(capabilities) ? capabilities : {},
      info: boundInfo(isObject(clientInfo) ? clientInfo : {}),
    },
  };
}

/** The revision asked for where we know it, else our newest with a handshake (MCP, "Lifecycle: Version Negotiation"). */
function negotiate(asked: unknown): string {
  return HANDSHAKE_VERSIONS.find((version) => version === asked) ?? HANDSHAKE_VERSIONS[0];
}

function readHandshakeClient(header: Headers, named: string | undefined, sessions: McpSessions): Client {
  if (named !== undefined && !HANDSHAKE_VERSIONS.some((version) => version === named)) {
    if (isStatelessVersion(named)) return strangerClient(named);
    throw unsupported(named, [...STATELESS_VERSIONS, ...HANDSHAKE_VERSIONS]);
  }
  const sessionId = header('mcp-session-id');
  if (sessionId === undefined) return strangerClient(named ?? UNNAMED_VERSION);
  const session = sessions.open(sessionId);
  if (!session) throw sessionNotFound();
  return { era: '2025', sessionId, face: toFace(session) };
}

/** A client that did not shake hands can be asked for nothing. */
function strangerClient(protocolVersion: string): Client {
  const face = { protocolVersion, capabilities: {}, info: boundInfo({}) };
  return { era: '2025', sessionId: undefined, face };
}

function toFace({ protocolVersion, capabilities, info }: McpSession): ClientFace {
  return { protocolVersion, capabilities, info };
}

function isStatelessVersion(version: string): boolean {
  return STATELESS_VERSIONS.some((known) => known === version);
}

function sessionNotFound(): RpcFault {
  const message = 'The session is unknown or too old: initialize again.';
  return new RpcFault({ code: CODE.sessionNotFound, message }, 404);
}

function unsupported(requested: unknown, supported: readonly string[]): RpcFault {
  const asked = typeof requested === 'string' ? requested.slice(0, 64) : 'unknown';
  const message = `Unsupported protocol version: ${asked}`;
  return new RpcFault(
    { code: CODE.unsupportedVersion, message, data: { supported: [...supported], requested: asked } },
    400,
  );
}

function mismatch(what: string): RpcFault {
  const message = `The request's headers and body disagree: ${what.slice(0, 300)}.`;
  return new RpcFault({ code: CODE.headerMismatch, message }, 400);
}
