import type { Json } from '../core/canonical-json.ts';
import type { Uuid } from '../core/ids.ts';
import type { Code } from './backend.ts';
import type { JsonObject } from './json-lines.ts';
import type { Limits } from './limits.ts';
import type { FailureReason } from './outcome.ts';

/** Where a server is: its code in our hands, or its publisher's own endpoint. */
export type ServerRef =
  | {
      kind: 'hosted';
      code: Code;
      /** Whose it is: nobody's servers may have all places (`queue.ts`). */
      publisherId?: Uuid | undefined;
      limits: Limits;
      /** The exact hosts it may reach in this call, each `name` or `name:port`; none without the caller's consent. */
      hosts: readonly string[];
    }
  | {
      kind: 'remote';
      /** The id of the server in the catalog: the audience of the token that the endpoint is shown. */
      serverId: Uuid;
      /** Its MCP endpoint (streamable HTTP). */
      endpoint: string;
      limits: Pick<Limits, 'runTimeoutMs' | 'outputBytesMax'>;
    };

/** Who asks, as a server is told it by `initialize` or by the `_meta` of a request. */
export type ClientFace = {
  /** The revision the client speaks; a server that only knows an older one is spoken to in that. */
  protocolVersion: string;
  capabilities: JsonObject;
  info: JsonObject;
};

/** What a publisher's endpoint may know of who pays. */
export type Caller = {
  /** An opaque name, the same for the same payer at the same server. */
  subject: string;
  /** How the call is paid: `free`, `key` or `credential`. */
  tier: 'free' | 'key' | 'credential';
  /** SHA-256 over the request, hex. */
  requestDigest: string;
  /** Whoever asks showed no key and pays nothing: `subject` names everybody of that kind, so no two calls go together. */
  isStranger?: boolean;
};

/** What a server says besides its answer, while a request runs. */
export type ServerEvents = {
  /** `notifications/progress`, `notifications/message` and their like, in order. */
  notify(message: { method: string; params: JsonObject }): void;
  /** What the server asks of the client (`sampling/createMessage`, `elicitation/create`, `roots/list`). */
  ask?(
    message: { method: string; params: JsonObject },
    signal: AbortSignal,
  ): Promise<{ result: JsonObject } | { error: { code: number; message: string; data?: Json } }>;
  /**
   * The whole `input_required` result of a `tools/call` (MCP 2026-07-28), at most 16 KB of JSON; the outcome is then
   * `input-required`. Without it a server of that era is told that its client can be asked for nothing.
   */
  needInput?(result: JsonObject): void;
  /** The JSON-RPC error that a `tools/call` was answered with; the outcome is then `tool-error`. */
  refuse?(error: { code: number; message: string; data?: Json }): void;
};

/** How much a server is asked to log (MCP 2025-11-25, "Logging"). */
export type LogLevel = 'debug' | 'info' | 'notice' | 'warning' | 'error' | 'critical' | 'alert' | 'emergency';

/** One request to one server. */
export type Exchange = {
  server: ServerRef;
  /** Any request of MCP but `initialize` and `ping`. */
  request: { method: string; params: JsonObject };
  /** Without one the server is asked by the gateway itself, which offers nothing. */
  client?: ClientFace | undefined;
  events?: ServerEvents | undefined;
  /** What the client last asked for by `logging/setLevel`: every call starts a new server, which is told again. */
  logLevel?: LogLevel | undefined;
  caller?: Caller | undefined;
};

/** What came of it. Only our own failures are thrown. */
export type Exchanged =
  | { kind: 'result'; result: JsonObject; runMs: number }
  /** A JSON-RPC error of the server's own. */
  | { kind: 'error'; code: number; message: string; data?: Json; runMs: number }
  /** `detail` is at most 512 bytes of public text. */
  | {
      kind: 'failed';
      reason: FailureReason;
      detail: string;
      /** When an endpoint that could not be reached is tried again. */
      retryAfterSeconds?: number;
      runMs: number;
    };

/** What a server says of itself (`initialize`, or `server/discover` from 2026-07-28 on). */
export type ServerFace = {
  capabilities: JsonObject;
  info: JsonObject;
  instructions?: string;
};

/** Why an endpoint is not called for now. `detail` is at most 512 bytes of public text. */
export type Outage = { detail: string; retryAfterSeconds: number };

/** Talks to publishers' own servers: adapters are strangers to the sandbox, and this is all it sees of them. */
export type RemoteServers = {
  exchange(
    input: Exchange & { server: Extract<ServerRef, { kind: 'remote' }> },
    signal: AbortSignal,
  ): Promise<Exchanged>;
  /** What the endpoint says of itself; throws `Problem('tool-failed')` when it is not an MCP server. */
  greet(server: Extract<ServerRef, { kind: 'remote' }>, signal: AbortSignal): Promise<ServerFace>;
  /** Whether a call of the endpoint would be refused now without being made. */
  findOutage(endpoint: string): Outage | undefined;
  close(): Promise<void>;
};
