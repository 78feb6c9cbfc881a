import type { ClientFace, ServerFace } from './exchange.ts';
import { isObject, type JsonObject } from './json-lines.ts';
import { type Break, METHOD_NOT_FOUND, type Reply, UNSUPPORTED_PROTOCOL_VERSION } from './json-rpc.ts';
import type { StdioChannel } from './stdio-channel.ts';

/** The revisions that begin with `initialize`, and those in which every request says who asks. */
export type Era = 'initialize' | 'stateless';

export type Greeting = { kind: 'greeted'; era: Era; face: ServerFace };

export const STATELESS_VERSION = '2026-07-28';
const INITIALIZE_VERSION = '2025-11-25';
const DATE = /^\d{4}-\d{2}-\d{2}$/;
const META = 'io.modelcontextprotocol/';

/** Who asks, as a server of each era is to see it. */
export type Faces = Readonly<Record<Era, ClientFace>>;

/** Which era a client lives in; when nobody is behind us it is the one that every server knows. */
export function eraOf(client: Pick<ClientFace, 'protocolVersion'> | undefined): Era {
  return client !== undefined && client.protocolVersion >= STATELESS_VERSION ? 'stateless' : 'initialize';
}

/**
 * Shakes hands in the era `first`, and in the other when the server does not know that one (MCP 2026-07-28,
 * "Lifecycle: Backward Compatibility").
 */
export async function shakeHands(channel: StdioChannel, faces: Faces, first: Era): Promise<Greeting | Break> {
  if (first === 'stateless') {
    const reply = await discover(channel, faces);
    // Servers of the older era have many codes for a method they never heard of.
    return reply.kind === 'error'
      ? readInitialize(channel, await initialize(channel, faces))
      : readDiscovery(channel, reply);
  }
  const reply = await initialize(channel, faces);
  const isElsewhere =
    reply.kind === 'error' && [METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION].includes(reply.code);
  return isElsewhere
    ? readDiscovery(channel, await discover(channel, faces))
    : readInitialize(channel, reply);
}

/** Parameters as a server of this era expects them: in the stateless one each request says who asks. */
export function toEraParams(
  params: JsonObject,
  { era, faces, logLevel }: { era: Era; faces: Faces; logLevel: string | undefined },
): JsonObject {
  const given = isObject(params._meta) ? params._meta : {};
  const kept = Object.fromEntries(Object.entries(given).filter(([key]) => !key.startsWith(META)));
  if (era === 'stateless') return { ...params, _meta: { ...kept, ...envelope(faces, logLevel) } };
  const { _meta, ...rest } = params;
  return Object.keys(kept).length === 0 ? rest : { ...rest, _meta: kept };
}

function discover(channel: StdioChannel, faces: Faces): Promise<Reply> {
  return channel.request('server/discover', { _meta: envelope(faces, undefined) });
}

function initialize(channel: StdioChannel, faces: Faces): Promise<Reply> {
  const { protocolVersion, capabilities, info } = faces.initialize;
  const isOfThisEra = DATE.test(protocolVersion) && protocolVersion <= INITIALIZE_VERSION;
  return channel.request('initialize', {
    protocolVersion: isOfThisEra ? protocolVersion : INITIALIZE_VERSION,
    capabilities,
    clientInfo: info,
  });
}

function envelope({ stateless }: Faces, logLevel: string | undefined): JsonObject {
  return {
    [`${META}protocolVersion`]: STATELESS_VERSION,
    [`${META}clientCapabilities`]: stateless.capabilities,
    [`${META}clientInfo`]: stateless.info,
    ...(logLevel === undefined ? {} : { [`${META}logLevel`]: logLevel }),
  };
}

/** Whichever revision the server answers with will do: what differs between them is passed on as it is. */
function readInitialize(channel: StdioChannel, reply: Reply): Greeting | Break {
  if (reply.kind === 'broken') return reply;
  if (reply.kind === 'error') return refuse(channel, `refused initialize: ${reply.message}`);
  const { protocolVersion } = reply.result;
  if (typeof protocolVersion !== 'string' || !DATE.test(protocolVersion)) {
    return refuse(channel, 'answered initialize without a protocolVersion');
  }
  channel.send({ method: 'notifications/initialized' });
  return { kind: 'greeted', era: 'initialize', face: toFace(reply.result, reply.result.serverInfo) };
}

function readDiscovery(channel: StdioChannel, reply: Reply): Greeting | Break {
  if (reply.kind === 'broken') return reply;
  if (reply.kind === 'error') return refuse(channel, `refused server/discover: ${reply.message}`);
  const { supportedVersions, _meta, serverInfo } = reply.result;
  if (!Array.isArray(supportedVersions) || !supportedVersions.includes(STATELESS_VERSION)) {
    return refuse(channel, `does not support MCP ${STATELESS_VERSION}, and refused initialize`);
  }
  const info = isObject(_meta) ? _meta[`${META}serverInfo`] : undefined;
  return { kind: 'greeted', era: 'stateless', face: toFace(reply.result, info ?? serverInfo) };
}

function toFace({ capabilities, instructions }: JsonObject, info: unknown): ServerFace {
  return {
    capabilities: isObject(capabilities) ? capabilities : {},
    info: isObject(info) ? info : {},
    ...(typeof instructions === 'string' ? { instructions } : {}),
  };
}

function refuse(channel: StdioChannel, why: string): Break {
  channel.end('protocol', `The server ${why}.`);
  return channel.broken() ?? { kind: 'broken', reason: 'protocol', detail: why };
}
