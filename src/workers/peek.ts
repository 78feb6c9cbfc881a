import type { Socket } from 'node:net';
import { type HeadSight, readHead } from './head.ts';

/** A head that comes in more pieces is somebody's who is slow on purpose, and every piece is looked through again. */
const CHUNKS_MAX = 16;

export type Peeked = { bytes: Buffer; sight: HeadSight };

export type Peeking = {
  /** Undefined when the client left meanwhile. */
  peeked: Promise<Peeked | undefined>;
  /** Ends the wait for more with what was read. */
  hurry(): void;
};

/**
 * Reads from a connection that was accepted paused until it is known where it belongs, and no further: what
 * comes later stays in the kernel, for whoever gets the connection. Waits `waitMs` at most; a client that is
 * slow on purpose costs us a timer and is then the worker's to time out.
 */
export function peek(socket: Socket, waitMs: number): Peeking {
  const chunks: Buffer[] = [];
  let size = 0;
  let settle = (_peeked: Peeked | undefined) => {};
  const peeked = new Promise<Peeked | undefined>((resolve) => {
    settle = resolve;
  });
  const finish = (result: Peeked | undefined) => {
    clearTimeout(timer);
    socket.removeListener('data', read).removeListener('end', end);
    settle(result);
  };
  const stop = (sight: HeadSight) => {
    stopReading(socket);
    finish({ bytes: Buffer.concat(chunks, size), sight });
  };
  const hurry = () => stop({ kind: 'unfinished' });
  const read = (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    const sight = readHead(chunks.length === 1 ? chunk : Buffer.concat(chunks, size));
    if (sight.kind !== 'unfinished' || chunks.length === CHUNKS_MAX) stop(sight);
  };
  // Half closed: who sent something may still wait for the answer, and the worker sees the end again.
  const end = () => (size === 0 ? finish(undefined) : hurry());
  const timer = setTimeout(hurry, waitMs);
  // The last two stay: what happens to the connection later shows when it is handed over.
  const left = () => finish(undefined);
  socket.on('data', read).on('end', end).on('error', left).on('close', left);
  socket.resume();
  return { peeked, hurry };
}

/**
 * Stops the reads themselves. `pause` only holds back what was read: the handle goes on reading, and what it reads
 * after the connection was given away is lost.
 */
function stopReading(socket: Socket): void {
  // Not part of the types: the handle under the socket, as Node itself stops it.
  const { _handle: handle } = socket as Socket & { _handle: Handle | null };
  // `handle.reading` stays true: the stream, which asks for more on its own, then does not start it again.
  handle?.readStop();
  socket.pause();
}

type Handle = { readStop(): void };
