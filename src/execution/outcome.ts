import type { Json } from '../core/canonical-json.ts';
import type { ServerFace } from './exchange.ts';

/** An MCP `CallToolResult` (2025-11-25) as it goes to the caller. */
export type CallToolResult = {
  content: Json[];
  structuredContent?: { [key: string]: Json };
  isError?: boolean;
  _meta?: { [key: string]: Json };
};

export type FailureReason =
  /** The tool said `isError`, or answered with a JSON-RPC error. */
  | 'tool-error'
  | 'timeout'
  | 'out-of-memory'
  /** The process ended before it answered. */
  | 'crashed'
  | 'output-too-large'
  /** What it wrote is not MCP. */
  | 'protocol'
  /** Its structured result breaks its own `outputSchema`. */
  | 'contract-broken'
  /** A publisher's own endpoint could not be reached, or its circuit is open. */
  | 'unreachable'
  /** It wants something of the caller first (MCP 2026-07-28, "input_required"); nothing is charged for asking. */
  | 'input-required'
  /** The caller or the gateway stopped it. */
  | 'cancelled';

/** What a tool call came to. Only `delivered` is ever charged. */
export type Outcome =
  | { kind: 'delivered'; result: CallToolResult; runMs: number }
  /** `detail` is at most 512 bytes of public text and holds no content of the result. */
  | {
      kind: 'failed';
      reason: FailureReason;
      detail: string;
      /** When an endpoint that could not be reached is tried again. */
      retryAfterSeconds?: number;
      runMs: number;
    };

/** One tool of an MCP server as its own `tools/list` describes it. */
export type ToolDefinition = {
  name: string;
  title?: string;
  description?: string;
  inputSchema: { [key: string]: Json };
  outputSchema?: { [key: string]: Json };
  annotations?: { [key: string]: Json };
  /** What it says to its clients' hosts, such as a page to show; ours are added beside it. */
  _meta?: { [key: string]: Json };
};

export type Inspection =
  | { kind: 'listed'; tools: ToolDefinition[]; face: ServerFace }
  /** `stderr` is the tail of what the server wrote there, for its publisher. */
  | { kind: 'refused'; detail: string; stderr: string };
