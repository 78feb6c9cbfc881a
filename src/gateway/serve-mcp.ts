import type { Json } from '../core/canonical-json.ts';
import type { CallToolResult, ServerFace, ToolDefinition } from '../execution/index.ts';
import type { Principal } from '../keys/index.ts';
import type { Carried } from '../payments/index.ts';

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
