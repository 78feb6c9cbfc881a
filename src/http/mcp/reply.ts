import type { Ctx } from '../env.ts';
import { type EventStream, openEventStream } from './event-stream.ts';
import type { JsonObject, RpcAnswer, RpcId } from './json-rpc.ts';

/** How a request is answered; `status` and `headers` can only be told while no stream is open. */
export type Reply =
  | { kind: 'answer'; answer: RpcAnswer; status?: number; headers?: readonly (readonly [string, string])[] }
  /** An answer of HTTP's own, such as a 402 with its headers; `otherwise` is for a stream that is open already. */
  | { kind: 'http'; response: Response; otherwise: RpcAnswer };

/** Where a request's messages go before its answer. */
export type Sink = {
  /** Whether the client takes a stream at all. */
  canStream: boolean;
  send(message: JsonObject): void;
};

/**
 * Answers one request (MCP 2025-11-25, "Sending Messages to the Server"): as plain JSON, unless something is said
 * before the answer to a client that takes a stream; then as a stream with the answer last. `work` never rejects.
 */
export async function answerRequest(
  c: Ctx,
  id: RpcId,
  work: (sink: Sink) => Promise<Reply>,
): Promise<Response> {
  const accepts = readAccept(c);
  let stream: EventStream | undefined;
  let tellOpened: (() => void) | undefined;
  const opened = new Promise<void>((resolve) => {
    tellOpened = resolve;
  });
  const open = () => {
    stream ??= openEventStream(c);
    tellOpened?.();
    return stream;
  };
  const replying = work({
    canStream: accepts.stream,
    send: (message) => {
      if (accepts.stream) open().send(message);
    },
  });
  const first = await Promise.race([replying, opened]);
  if (first && !stream && accepts.json) return toResponse(id, first);
  if (first && !stream && first.kind === 'http') return first.response;
  const streaming = open();
  void replying.then((reply) => {
    streaming.end(spellAnswer(id, reply.kind === 'answer' ? reply.answer : reply.otherwise));
  });
  return streaming.response;
}

export function toResponse(id: RpcId | null, reply: Reply): Response {
  if (reply.kind === 'http') return reply.response;
  const { answer, status = 200, headers = [] } = reply;
  const told = new Headers({ 'content-type': 'application/json' });
  for (const [name, value] of headers) told.append(name, value);
  return new Response(JSON.stringify(spellAnswer(id, answer)), { status, headers: told });
}

export function spellAnswer(id: RpcId | null, answer: RpcAnswer): JsonObject {
  return { jsonrpc: '2.0', id, ...answer };
}

/** A client that says nothing, or anything, takes JSON; only one that asks for a stream alone gets it for everything. */
function readAccept(c: Ctx): { json: boolean; stream: boolean } {
  const accept = (c.req.header('accept') ?? '*/*').toLowerCase();
  const stream = accept.includes('text/event-stream');
  return { stream, json: !stream || /application\/(?:json|\*)|\*\/\*/.test(accept) };
}
