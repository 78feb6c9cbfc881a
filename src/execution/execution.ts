import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Problem } from '../core/problem.ts';
import type { Backend, BackendStatus } from './backend.ts';
import { callTool, judgeReply } from './call-tool.ts';
import { checkCode } from './check-code.ts';
import { createContracts, type Validation } from './contracts.ts';
import { type ConversationDeps, converse } from './conversation.ts';
import type { Egress } from './egress-port.ts';
import { createEras } from './eras.ts';
import type { Exchange, Exchanged, Outage, RemoteServers, ServerRef } from './exchange.ts';
import { inspectHosted, inspectRemote } from './inspection.ts';
import type { JsonObject } from './json-lines.ts';
import type { Inspection, Outcome } from './outcome.ts';
import { createPool } from './pool/pool.ts';
import { createQueue, type QueueBounds } from './queue.ts';

export type ExecutionDeps = QueueBounds & {
  backend: Backend;
  remote: RemoteServers;
  /** Undefined where no hosted server ever reaches the network. */
  egress?: Egress | undefined;
  /** What jails that wait for calls may hold together; 0 starts a jail for each call. */
  poolMemoryBytesMax: number;
  clock: Clock;
  log: Log;
};

/** A `tools/call`; `params.name` and `params.arguments` are checked already. */
export type RunInput = Exchange & { outputSchema: JsonObject | undefined };

/** Runs publishers' servers. A failure of a server is an outcome; only ours is thrown. */
export type Execution = {
  /** Whether hosted code can run. */
  status(): Promise<BackendStatus>;
  /** Why a publisher's endpoint is not called for now: nobody should pay before it is. */
  findOutage(endpoint: string): Outage | undefined;
  /** Why a hosted server of this publisher would be turned away now: asked before any money is set aside for it. */
  findRefusal(publisherId: string): Problem | undefined;
  /** Calls one tool and holds its answer to its contract. Throws `Problem('unavailable')` when nothing can run now. */
  run(input: RunInput, signal: AbortSignal): Promise<Outcome>;
  /** Any other request of MCP, such as `resources/read`, answered as the server answers it. */
  exchange(input: Exchange, signal: AbortSignal): Promise<Exchanged>;
  /** Starts the server once and reads what it says of itself and which tools it really offers. */
  inspect(input: { server: ServerRef }, signal: AbortSignal): Promise<Inspection>;
  /** Whether arguments fit a tool's `inputSchema`; `detail` names the place and the fix. */
  validateArguments(schema: JsonObject, value: unknown): Validation;
  /** How many run, wait and were turned away, and how many jails wait for calls. */
  load(): ExecutionLoad;
  /** Turns away who waits, ends what runs, and leaves nothing behind. */
  close(): Promise<void>;
};

export type ExecutionLoad = {
  running: number;
  waiting: number;
  turnedAway: number;
  waitingJails: { ready: number; starting: number; memoryBytes: number };
};

export function createExecution(deps: ExecutionDeps): Execution {
  const { backend, remote } = deps;
  const queue = createQueue(deps);
  const pool = createPool({ ...deps, busy: queue.inside });
  const contracts = createContracts();
  const parts: ConversationDeps = {
    ...{ backend, pool, egress: deps.egress, log: deps.log, clock: deps.clock },
    ...{ queue, eras: createEras(), sessions: new Set() },
  };
  const status = async () => {
    const found = await backend.status();
    if (found.kind === 'ready') pool.stand(found.capabilities.roots);
    return found;
  };
  return {
    status,
    findOutage: (endpoint) => remote.findOutage(endpoint),
    findRefusal: queue.findRefusal,
    async run(input, signal) {
      const { server } = input;
      if (server.kind === 'remote') {
        const answer = await remote.exchange({ ...input, server }, signal);
        if (answer.kind === 'failed') return answer;
        return { ...judgeReply(contracts, answer, input), runMs: answer.runMs };
      }
      await checkCode(server.code);
      const ending = await converse(parts, { ...input, server }, signal, ({ request }) =>
        callTool(request, contracts, input),
      );
      if (ending.kind === 'finished') return { ...ending.value, runMs: ending.runMs };
      return { kind: 'failed', reason: ending.reason, detail: ending.detail, runMs: ending.runMs };
    },
    async exchange(input, signal) {
      const { server, request } = input;
      if (server.kind === 'remote') return remote.exchange({ ...input, server }, signal);
      await checkCode(server.code);
      const { runMs, ...ending } = await converse(parts, { ...input, server }, signal, (session) =>
        session.request(request.method, request.params),
      );
      if (ending.kind === 'finished') return { ...ending.value, runMs };
      return { kind: 'failed', reason: ending.reason, detail: ending.detail, runMs };
    },
    async inspect({ server }, signal) {
      if (server.kind === 'remote') return inspectRemote(remote, contracts, server, signal);
      await checkCode(server.code);
      return inspectHosted(parts, contracts, server, signal);
    },
    validateArguments: (schema, value) => contracts.validate(schema, value, 'arguments'),
    load: () => ({ running: queue.inside(), ...queue.outside(), waitingJails: pool.waiting() }),
    async close() {
      queue.close();
      for (const session of parts.sessions) session.end('cancelled', 'The gateway is shutting down.');
      await Promise.all([pool.close(), backend.close(), remote.close()]);
    },
  };
}
