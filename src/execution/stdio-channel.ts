import type { Jail } from './backend.ts';
import type { JsonObject } from './json-lines.ts';
import {
  type Break,
  type Reply,
  type Request,
  readMessage,
  type ServerNotification,
  type ServerRequest,
} from './json-rpc.ts';
import type { FailureReason } from './outcome.ts';
import { toPublicDetail } from './public-detail.ts';
import { readServerOutput } from './server-output.ts';

export type ChannelEvents = {
  onNotification(notification: ServerNotification, bytes: number): void;
  /** Answers with why the server may not ask this, and undefined when it may. */
  onRequest(request: ServerRequest): string | undefined;
  onEnd(): void;
};

/** JSON-RPC with the server in a jail, one request at a time (MCP 2025-11-25, "Transports: stdio"). */
export type StdioChannel = {
  request: Request;
  send(message: JsonObject): void;
  /** Ends the conversation for a reason from outside; the request that waits is answered with it. */
  end(reason: FailureReason, detail: string): void;
  /** The request that waits for its answer. */
  waitingId(): number | undefined;
  broken(): Break | undefined;
  /** Whether the server ever wrote a message. */
  hasSpoken(): boolean;
  stderrTail(): string;
};

/** Opens a channel, and believes the server only as far as it keeps to the protocol. */
export function openStdioChannel(
  jail: Pick<Jail, 'stdin' | 'stdout' | 'stderr'>,
  outputBytesMax: number,
  events: ChannelEvents,
): StdioChannel {
  let broken: Break | undefined;
  let waiting: { id: number; settle: (reply: Reply) => void } | undefined;
  let requestCount = 0;
  let hasSpoken = false;

  const send = (message: JsonObject) => {
    if (broken === undefined) jail.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  };
  const settle = (reply: Reply) => {
    const current = waiting;
    waiting = undefined;
    current?.settle(reply);
  };
  const end = (reason: FailureReason, detail: string) => {
    if (broken !== undefined) return;
    broken = { kind: 'broken', reason, detail: toPublicDetail(detail) };
    output.stop();
    events.onEnd();
    settle(broken);
  };
  const violate = (why: string | undefined) => {
    if (why !== undefined) end('protocol', `The server ${why}.`);
  };
  const output = readServerOutput(jail, outputBytesMax, {
    onBroken: end,
    onMessage(message, bytes) {
      hasSpoken = true;
      const reading = readMessage(message, waiting?.id);
      switch (reading.kind) {
        case 'reply':
          return settle(reading.reply);
        case 'request':
          return violate(events.onRequest(reading));
        case 'notification':
          return events.onNotification(reading, bytes);
        case 'violation':
          return violate(reading.why);
        default:
          return reading satisfies never;
      }
    },
  });
  // A broken pipe says only that the server is gone, which the end of stdout says as well.
  jail.stdin.on('error', () => {});
  return {
    request(method, params) {
      if (broken !== undefined) return Promise.resolve(broken);
      requestCount += 1;
      const id = requestCount;
      return new Promise((resolve) => {
        waiting = { id, settle: resolve };
        send({ id, method, params });
      });
    },
    send,
    end,
    waitingId: () => waiting?.id,
    broken: () => broken,
    hasSpoken: () => hasSpoken,
    stderrTail: output.stderrTail,
  };
}
