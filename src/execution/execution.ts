import type { Clock } from '../core/clock.ts';
import { invariant } from '../core/invariant.ts';
import type { Log } from '../core/log.ts';
import type { Backend, BackendStatus, Code } from './backend.ts';
import { callTool, type ToolCall } from './call-tool.ts';
import { createContracts, type Validation } from './contracts.ts';
import { converse } from './conversation.ts';
import type { JsonObject } from './json-lines.ts';
import type { Limits } from './limits.ts';
import type { McpSession } from './mcp-session.ts';
import type { Inspection, Outcome } from './outcome.ts';
import { createQueue, type QueueBounds } from './queue.ts';
import { listTools } from './tool-list.ts';

export type ExecutionDeps = QueueBounds & {
  backend: Backend;
  clock: Clock;
  log: Log;
  /** Names a set of files as `Code.sha256` does. */
  hashFiles: (files: ReadonlyMap<string, Uint8Array>) => string;
};

export type RunInput = ToolCall & { code: Code; limits: Limits };

/** Runs publishers' code. A failure of the code is an outcome; only ours is thrown. */
export type Execution = {
  status(): Promise<BackendStatus>;
  /** Calls one tool in a fresh jail. Throws `Problem('unavailable')` when nothing can run now. */
  run(input: RunInput, signal: AbortSignal): Promise<Outcome>;
  /** Starts the server once and reads which tools it really offers. */
  inspect(input: { code: Code; limits: Limits }, signal: AbortSignal): Promise<Inspection>;
  /** Whether arguments fit a tool's `inputSchema`; `detail` names the place and the fix. */
  validateArguments(schema: JsonObject, value: unknown): Validation;
  /** Turns away who waits, ends what runs, and leaves nothing behind. */
  close(): Promise<void>;
};

/** A server may compile and import for the first time when it is published; its calls may not. */
const INSPECT_TIMEOUT_MS = 15_000;

export function createExecution(deps: ExecutionDeps): Execution {
  const { backend, clock, log } = deps;
  const queue = createQueue(deps);
  const contracts = createContracts();
  const sessions = new Set<McpSession>();
  const parts = { backend, queue, sessions, clock, log };
  const checkCode = (code: Code) => {
    invariant(deps.hashFiles(code.files) === code.sha256, `the stored code of ${code.sha256} has changed`);
  };
  return {
    status: () => backend.status(),
    async run(input, signal) {
      checkCode(input.code);
      const ending = await converse(parts, input, signal, (session) => callTool(session, contracts, input));
      if (ending.kind === 'finished') return { ...ending.value, runMs: ending.runMs };
      return { kind: 'failed', reason: ending.reason, detail: ending.detail, runMs: ending.runMs };
    },
    async inspect({ code, limits }, signal) {
      checkCode(code);
      const runTimeoutMs = Math.max(limits.runTimeoutMs, INSPECT_TIMEOUT_MS);
      const spec = { code, limits: { ...limits, runTimeoutMs } };
      const ending = await converse(parts, spec, signal, (session) => listTools(session, contracts));
      if (ending.kind === 'broken') return { kind: 'refused', detail: ending.detail, stderr: ending.stderr };
      return ending.value.kind === 'listed' ? ending.value : { ...ending.value, stderr: ending.stderr };
    },
    validateArguments: (schema, value) => contracts.validate(schema, value, 'arguments'),
    async close() {
      queue.close();
      for (const session of sessions) session.end('cancelled', 'The gateway is shutting down.');
      await backend.close();
    },
  };
}
