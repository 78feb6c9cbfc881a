import { deriveKey, takeRandomText } from '../../core/bytes.ts';
import { addMs, type Clock } from '../../core/clock.ts';
import { seal, unseal } from '../../core/seal.ts';
import { isObject, type JsonObject } from './json-rpc.ts';

/** What `initialize` told of a client. */
export type McpSession = { protocolVersion: string; capabilities: JsonObject; info: JsonObject };

/** Session ids that hold their session: any gateway of the deployment reads them, and none stores one. */
export type McpSessions = {
  issue(session: McpSession): string;
  /** Undefined for what is not ours, or too old. */
  open(id: string): McpSession | undefined;
};

const CONTEXT = 'mcp-session';
const PREFIX = 'm1.';
const ID_CHARACTERS_MAX = 4_096;
const LIFETIME_MS = 30 * 24 * 60 * 60 * 1000;
const NONCE_BYTES = 16;
const INFO_CHARACTERS_MAX = 100;
const CAPABILITIES_CHARACTERS_MAX = 1_024;

/** The capabilities that change what a client is asked, for those whose whole list is too long to carry. */
const CAPABILITIES_KEPT = ['sampling', 'elicitation', 'roots'] as const;
const ELICITATION_MODES = ['form', 'url'] as const;

/**
 * Seals what a client said of itself into its `Mcp-Session-Id` (MCP 2025-11-25, "Session Management"). It proves
 * nothing about who calls: that is the key's part. The first secret seals and every one opens.
 */
export function createMcpSessions(deps: { secrets: readonly Buffer[]; clock: Clock }): McpSessions {
  const keys = deps.secrets.map((secret) => deriveKey(secret, CONTEXT));
  const [sealing] = keys;
  if (!sealing) throw new RangeError('MCP sessions need a secret');
  return {
    issue({ protocolVersion, capabilities, info }) {
      const session = {
        ...{ v: protocolVersion, c: boundCapabilities(capabilities), i: boundInfo(info) },
        expires: addMs(deps.clock.now(), LIFETIME_MS).getTime(),
        // Two clients alike are still two.
        nonce: takeRandomText(NONCE_BYTES),
      };
      return PREFIX + seal(sealing, JSON.stringify(session), CONTEXT).toString('base64url');
    },
    open(id) {
      if (!id.startsWith(PREFIX) || id.length > ID_CHARACTERS_MAX) return undefined;
      const plain = unseal(keys, Buffer.from(id.slice(PREFIX.length), 'base64url'), CONTEXT);
      return plain && readSession(JSON.parse(plain.toString('utf8')), deps.clock.now());
    },
  };
}

function readSession(value: unknown, now: Date): McpSession | undefined {
  if (!isObject(value)) return undefined;
  const { v, c, i, expires } = value;
  if (typeof v !== 'string' || !isObject(c) || !isObject(i) || typeof expires !== 'number') return undefined;
  return expires > now.getTime() ? { protocolVersion: v, capabilities: c, info: i } : undefined;
}

/** All that a client declared, or of too long a list what it can be asked for. */
export function boundCapabilities(capabilities: JsonObject): JsonObject {
  if (JSON.stringify(capabilities).length <= CAPABILITIES_CHARACTERS_MAX) return capabilities;
  const kept: JsonObject = {};
  for (const name of CAPABILITIES_KEPT) if (isObject(capabilities[name])) kept[name] = {};
  const { elicitation } = capabilities;
  if (isObject(elicitation)) {
    const modes = ELICITATION_MODES.filter((mode) => isObject(elicitation[mode]));
    kept.elicitation = Object.fromEntries(modes.map((mode) => [mode, {}]));
  }
  return kept;
}

/** The members that every revision knows, cut to a sensible length. */
export function boundInfo(info: JsonObject): JsonObject {
  const { name, version, title } = info;
  const bound: JsonObject = { name: cut(name) ?? 'unnamed', version: cut(version) ?? '0' };
  const shown = cut(title);
  return shown === undefined ? bound : { ...bound, title: shown };
}

function cut(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.slice(0, INFO_CHARACTERS_MAX) : undefined;
}
