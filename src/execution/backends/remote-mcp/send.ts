import type { IncomingHttpHeaders } from 'node:http';
import { createBrotliDecompress, createGunzip, createInflate, type Gunzip } from 'node:zlib';
import type { Dispatcher } from 'undici';

export type OutRequest = {
  method: 'POST' | 'GET' | 'DELETE';
  path: string;
  headers: Record<string, string>;
  body?: string;
};

/** What may come in for one call, over all its requests: as it was sent, and as it was decoded. */
export type Budget = { readonly bytesMax: number; received: number; decoded: number };

export type Head = { status: number; headers: IncomingHttpHeaders };

/** What comes back, in this order; exactly one of `onEnd` and `onFailure` comes last. */
export type Sink = {
  onHead(head: Head): void;
  /** Bytes of the body, decoded. */
  onData(chunk: Buffer): void;
  onEnd(): void;
  onFailure(failure: SendFailure): void;
};

export type SendFailure =
  /** Nothing was sent. */
  | { kind: 'unreachable'; error: Error }
  /** It broke with the request under way. */
  | { kind: 'broken'; error: Error }
  | { kind: 'too-large' }
  | { kind: 'undecodable'; why: string };

/**
 * One request over a pool, its answer bounded as it comes in and again as it is decoded. Answers what stops it:
 * nothing comes after that.
 */
export function send(pool: Dispatcher, request: OutRequest, budget: Budget, sink: Sink): () => void {
  let controller: Dispatcher.DispatchController | undefined;
  let decoder: Gunzip | undefined;
  let isOver = false;

  // Methods, here and wherever a call comes by: tsx names each arrow function anew whenever it is made.
  const sending = {
    stop() {
      if (isOver) return;
      isOver = true;
      decoder?.destroy();
      if (controller !== undefined) abort(controller);
    },
    fail(failure: SendFailure) {
      if (isOver) return;
      sending.stop();
      sink.onFailure(failure);
    },
    end() {
      if (isOver) return;
      isOver = true;
      sink.onEnd();
    },
    take(chunk: Buffer) {
      if (isOver) return;
      budget.decoded += chunk.length;
      if (budget.decoded > budget.bytesMax) sending.fail({ kind: 'too-large' });
      else sink.onData(chunk);
    },
    decode(encoding: string) {
      decoder = openDecoder(encoding, sending);
    },
  };
  pool.dispatch(
    { ...request, body: request.body ?? null },
    {
      onRequestStart(started) {
        controller = started;
        // It may have been given up while it waited for a connection.
        if (isOver) abort(started);
      },
      onResponseStart(_, status, headers) {
        if (isOver || status < 200) return;
        const encoding = headers['content-encoding'];
        if (typeof encoding === 'string' && encoding !== 'identity') sending.decode(encoding);
        if (!isOver) sink.onHead({ status, headers });
      },
      onResponseData(_, chunk) {
        if (isOver) return;
        budget.received += chunk.length;
        if (budget.received > budget.bytesMax) sending.fail({ kind: 'too-large' });
        else if (decoder === undefined) sending.take(chunk);
        else decoder.write(chunk);
      },
      onResponseEnd() {
        if (decoder === undefined) sending.end();
        else decoder.end();
      },
      onResponseError(_, error) {
        sending.fail({ kind: controller === undefined ? 'unreachable' : 'broken', error });
      },
    },
  );
  return sending.stop;
}

type Decoding = { take(chunk: Buffer): void; end(): void; fail(failure: SendFailure): void };

function openDecoder(encoding: string, { take, end, fail }: Decoding): Gunzip | undefined {
  const decoder = DECODERS.get(encoding.trim().toLowerCase())?.();
  if (decoder === undefined) {
    fail({ kind: 'undecodable', why: 'used a content-encoding that we did not ask for' });
    return undefined;
  }
  decoder.on('data', take).on('end', end);
  return decoder.on('error', () => fail({ kind: 'undecodable', why: 'sent a body that does not decode' }));
}

const DECODERS = new Map<string, () => Gunzip>([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
]);

function abort(controller: Dispatcher.DispatchController): void {
  controller.abort(new Error('the gateway needs no more of this'));
}
