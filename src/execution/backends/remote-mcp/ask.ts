import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { isObject, type JsonObject, readJson } from '../../json-lines.ts';
import type { FailureReason } from '../../outcome.ts';
import { explainFailure } from './explain.ts';
import type { Leash } from './leash.ts';
import { type Reading, type Reply, readMessage, readReply } from './messages.ts';
import { type Budget, type Head, type OutRequest, type SendFailure, send } from './send.ts';
import { createSseReader, type SseReader } from './sse.ts';

/** How one HTTP request ended. */
export type Answer =
  | { kind: 'reply'; reply: Reply; headers: IncomingHttpHeaders }
  /** Anything but an answer to what was asked; `error` where the body is a JSON-RPC error. */
  | { kind: 'status'; status: number; headers: IncomingHttpHeaders; error: Reply | undefined }
  /** The server closed the stream before it answered, and lets it be taken up again. */
  | { kind: 'paused'; lastEventId: string; retryMs: number | undefined }
  | Broken;

export type Broken = { kind: 'broken'; reason: FailureReason; detail: string; isUnreachable: boolean };

export type AskInput = {
  pool: Dispatcher;
  request: OutRequest;
  /** The id of the request whose answer is waited for. */
  id: number;
  budget: Budget;
  leash: Leash;
  /** Called once it is known that there will be an answer. */
  onHead?: (() => void) | undefined;
  onNotification?: ((message: { method: string; params: JsonObject }) => void) | undefined;
  /** False once the server has asked too much. */
  onRequest(request: Extract<Reading, { kind: 'request' }>): boolean;
};

/** What an answer that is not one may say of itself. */
const STATUS_BODY_BYTES_MAX = 64 * 1024;
/** A stream whose answer has come is over, and says so at once. */
const STREAM_END_GRACE_MS = 1_000;

/**
 * Sends one request and reads its answer, as one JSON document or as a stream of events (MCP 2025-11-25 and
 * 2026-07-28, "Streamable HTTP: Sending Messages to the Server").
 */
export function ask(input: AskInput): Promise<Answer> {
  return new Promise((resolve) => {
    const { leash, budget } = input;
    let isSettled = false;
    let reader: BodyReader | undefined;
    let detach: (() => void) | undefined;
    const asking = {
      settle(answer: Answer) {
        if (isSettled) return;
        isSettled = true;
        detach?.();
        resolve(answer);
      },
    };
    const stop = send(input.pool, input.request, budget, {
      onHead(head) {
        reader = chooseReader(head, input);
        input.onHead?.();
      },
      onData(chunk) {
        if (isSettled) return;
        const answer = reader?.push(chunk);
        if (answer === undefined) return;
        asking.settle(answer);
        if (answer.kind !== 'reply') return stop();
        // Closing the connection would cost the next call a new one.
        setTimeout(stop, STREAM_END_GRACE_MS).unref();
      },
      onEnd() {
        if (!isSettled) asking.settle(reader?.end() ?? broken('protocol', 'The server sent no answer.'));
      },
      onFailure(failure: SendFailure) {
        asking.settle({ kind: 'broken', ...explainFailure(failure, budget.bytesMax) });
      },
    });
    detach = leash.onEnd((end) => {
      asking.settle({ kind: 'broken', ...end, isUnreachable: false });
      stop();
    });
    if (isSettled) detach();
  });
}

/** Answers as soon as it is known how the request ends. */
type BodyReader = { push(chunk: Buffer): Answer | undefined; end(): Answer };

function chooseReader(head: Head, input: AskInput): BodyReader {
  if (head.status !== 200) return readStatus(head, input);
  const type = readMediaType(head.headers['content-type']);
  if (type === 'application/json') return readDocument(head, input);
  if (type === 'text/event-stream') return readEvents(head, input);
  const answer = broken('protocol', 'The server answered neither with JSON nor with a stream of events.');
  return { push: () => answer, end: () => answer };
}

function readMediaType(header: string | undefined): string | undefined {
  // As nearly all write it.
  if (header === 'application/json' || header === 'text/event-stream') return header;
  return String(header ?? '')
    .split(';', 1)[0]
    ?.trim()
    .toLowerCase();
}

function readDocument(head: Head, input: AskInput): BodyReader {
  const chunks: Buffer[] = [];
  return {
    push(chunk) {
      chunks.push(chunk);
      return undefined;
    },
    end() {
      const [only] = chunks;
      const body = only !== undefined && chunks.length === 1 ? only : Buffer.concat(chunks);
      const answers = createInterpreter(head, input);
      answers.take(body);
      return answers.found() ?? broken('protocol', 'The server answered with something else than an answer.');
    },
  };
}

function readEvents(head: Head, input: AskInput): BodyReader {
  const answers = createInterpreter(head, input);
  const events: SseReader = createSseReader((data) => answers.take(data));
  return {
    push(chunk) {
      events.push(chunk);
      return answers.found();
    },
    end() {
      const position = events.position();
      if (position !== undefined) return { kind: 'paused', ...position };
      return broken('crashed', 'The server ended its stream before it answered.');
    },
  };
}

/** Takes one message after the other; the last word is the answer, or what was wrong. */
function createInterpreter(head: Head, { id, onNotification, onRequest }: AskInput) {
  let found: Answer | undefined;
  return {
    found() {
      return found;
    },
    take(bytes: Buffer) {
      if (found?.kind === 'broken') return;
      const json = readJson(bytes, 'a message that is not JSON');
      if (json.kind === 'blank') return;
      if (json.kind === 'broken') {
        found = broken('protocol', `The server ${json.why}`);
        return;
      }
      const reading = readMessage(json.value, found === undefined ? id : undefined);
      if (reading.kind === 'reply') found = { kind: 'reply', reply: reading.reply, headers: head.headers };
      if (reading.kind === 'notification' && found === undefined) onNotification?.(reading);
      if (reading.kind === 'violation') found = broken('protocol', `The server ${reading.why}.`);
      if (reading.kind === 'request' && found === undefined && !onRequest(reading)) {
        found = broken('protocol', 'The server asks too much of us.');
      }
    },
  };
}

function readStatus({ status, headers }: Head, { id }: AskInput): BodyReader {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const finish = (): Answer => {
    const json = readJson(Buffer.concat(chunks), 'a message that is not JSON');
    // Some refuse before they have read which request it was, and answer `null`.
    const isOurs = json.kind === 'object' && (json.value.id === id || (json.value.id ?? null) === null);
    const reply = isOurs && isObject(json.value.error) ? readReply(json.value) : undefined;
    return { kind: 'status', status, headers, error: reply };
  };
  return {
    push(chunk) {
      bytes += chunk.length;
      if (bytes > STATUS_BODY_BYTES_MAX) return { kind: 'status', status, headers, error: undefined };
      chunks.push(chunk);
      return undefined;
    },
    end: finish,
  };
}

function broken(reason: FailureReason, detail: string): Broken {
  return { kind: 'broken', reason, detail, isUnreachable: false };
}
