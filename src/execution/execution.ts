import { sha256Hex } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { invariant } from '../core/invariant.ts';
import type { Log } from '../core/log.ts';
import type { Backend, BackendStatus, Code } from './backend.ts';
import { callTool, judgeResult } from './call-tool.ts';
import { createContracts, type Validation } from './contracts.ts';
import { converse } from './conversation.ts';
import type { Exchange, Exchanged, RemoteServers, ServerRef } from './exchange.ts';
import type { JsonObject } from './json-lines.ts';
import type { McpSession } from './mcp-session.ts';
import type { Inspection, Outcome } from './outcome.ts';
import { createQueue, type QueueBounds } from './queue.ts';
import { listTools } from './tool-list.ts';

export type ExecutionDeps = QueueBounds & {
  backend: Backend;
  remote: RemoteServers;
  clock: Clock;
  log: Log;
};

/** A `tools/call`; `params.name` and `params.arguments` are checked already. */
export type RunInput = Exchange & { outputSchema: JsonObject | undefined };

/** Runs publishers' servers. A failure of a server is an outcome; only ours is thrown. */
export type Execution = {
  /** Whether hosted code can run. */
  status(): Promise<BackendStatus>;
  /** Calls one tool and holds its answer to its contract. Throws `Problem('unavailable')` when nothing can run now. */
  run(input: RunInput, signal: AbortSignal): Promise<Outcome>;
  /** Any other request of MCP, such as `resources/read`, answered as the server answers it. */
  exchange(input: Exchange, signal: AbortSignal): Promise<Exchanged>;
  /** Starts the server once and reads what it says of itself and which tools it really offers. */
  inspect(input: { server: ServerRef }, signal: AbortSignal): Promise<Inspection>;
  /** Whether arguments fit a tool's `inputSchema`; `detail` names the place and the fix. */
  validateArguments(schema: JsonObject, value: unknown): Validation;
  /** Turns away who waits, ends what runs, and leaves nothing behind. */
  close(): Promise<void>;
};

/** A server may compile and import for the first time when it is published; its calls may not. */
const INSPECT_TIMEOUT_MS = 15_000;

export function createExecution(deps: ExecutionDeps): Execution {
  const { backend, remote, clock, log } = deps;
  const queue = createQueue(deps);
  const contracts = createContracts();
  const sessions = new Set<McpSession>();
  const parts = { backend, queue, sessions, clock, log };
  const execution: Execution = {
    status: () => backend.status(),
    async run(input, signal) {
      const { server, outputSchema } = input;
      if (server.kind === 'remote') {
        const answer = await remote.exchange({ ...input, server }, signal);
        if (answer.kind === 'failed') return answer;
        const reply = answer.kind === 'result' ? answer : { kind: answer.kind, message: answer.message };
        return { ...judgeResult(contracts, reply, outputSchema), runMs: answer.runMs };
      }
      checkCode(server.code);
      const ending = await converse(parts, server, signal, (session) => callTool(session, contracts, input));
      if (ending.kind === 'finished') return { ...ending.value, runMs: ending.runMs };
      return { kind: 'failed', reason: ending.reason, detail: ending.detail, runMs: ending.runMs };
    },
    async exchange(input, signal) {
      const { server, request } = input;
      if (server.kind === 'remote') return remote.exchange({ ...input, server }, signal);
      checkCode(server.code);
      const ending = await converse(parts, server, signal, (session) =>
        session.request(request.method, request.params),
      );
      const { runMs } = ending;
      if (ending.kind === 'broken')
        return { kind: 'failed', reason: ending.reason, detail: ending.detail, runMs };
      const reply = ending.value;
      return reply.kind === 'result'
        ? { kind: 'result', result: reply.result, runMs }
        : { kind: 'error', code: reply.code, message: reply.message, runMs };
    },
    async inspect({ server }, signal) {
      invariant(server.kind === 'hosted', 'remote servers cannot be inspected yet');
      checkCode(server.code);
      const runTimeoutMs = Math.max(server.limits.runTimeoutMs, INSPECT_TIMEOUT_MS);
      const spec = { ...server, limits: { ...server.limits, runTimeoutMs } };
      const ending = await converse(parts, spec, signal, (session) => listTools(session, contracts));
      if (ending.kind === 'broken') return { kind: 'refused', detail: ending.detail, stderr: ending.stderr };
      return ending.value.kind === 'listed'
        ? { ...ending.value, face: { capabilities: { tools: {} }, info: {} } }
        : { ...ending.value, stderr: ending.stderr };
    },
    validateArguments: (schema, value) => contracts.validate(schema, value, 'arguments'),
    async close() {
      queue.close();
      for (const session of sessions) session.end('cancelled', 'The gateway is shutting down.');
      await Promise.all([backend.close(), remote.close()]);
    },
  };
  return execution;
}

function checkCode(code: Code): void {
  invariant(sha256Hex(code.archive) === code.sha256, `the stored code of ${code.sha256} has changed`);
}
