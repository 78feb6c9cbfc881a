import { type Duplex, Readable, Writable } from 'node:stream';
import type Docker from 'dockerode';

/** What a program in a container says and hears. */
export type Attachment = {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Whether anything ever came over stdout. */
  hasSpoken(): boolean;
  /** Ends the connection, with which the engine closes the program's stdin. */
  close(): void;
};

const ATTACH_TIMEOUT_MS = 15_000;

/** Connects with a container before it is started, so that nothing it says is missed. */
export async function attach(container: Docker.Container, signal: AbortSignal): Promise<Attachment> {
  // Not `timeLimit`: the connection lives on when the request has been answered.
  const asking = new AbortController();
  const abort = () => asking.abort(signal.reason);
  const timer = setTimeout(
    () => asking.abort(new Error('the engine did not attach in time')),
    ATTACH_TIMEOUT_MS,
  );
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    // An empty body: dockerode would send the options as one, on the connection that becomes stdin.
    const options = { ...HIJACK, _query: STREAMS, _body: {}, abortSignal: asking.signal };
    const socket = await container.attach(options);
    return openStreams(socket as Duplex);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}

const HIJACK = { hijack: true } as const;
const STREAMS = { stream: 1, stdin: 1, stdout: 1, stderr: 1 };

const HEADER_BYTES = 8;
const STDERR = 2;

/**
 * Splits what comes over the connection into two streams (Engine API, "Attach to a container", stream format:
 * one byte of type, three of nothing, four of length). What nobody reads is not taken from the connection, so
 * that a flood waits in the container and not in our memory.
 */
export function openStreams(socket: Duplex): Attachment {
  const full = new Set<Readable>();
  let hasSpoken = false;
  const goOn = (stream: Readable) => {
    if (full.delete(stream) && full.size === 0) socket.resume();
  };
  const stdout = new Readable({ read: () => goOn(stdout) });
  const stderr = new Readable({ read: () => goOn(stderr) });
  const give = (stream: Readable, piece: Buffer) => {
    hasSpoken ||= stream === stdout;
    if (stream.push(piece)) return;
    full.add(stream);
    socket.pause();
  };
  let header = Buffer.alloc(0);
  let target = stdout;
  let left = 0;
  socket.on('data', (chunk: Buffer) => {
    let rest = chunk;
    while (rest.length > 0) {
      if (left > 0) {
        const piece = rest.subarray(0, left);
        left -= piece.length;
        rest = rest.subarray(piece.length);
        give(target, piece);
        continue;
      }
      const missing = HEADER_BYTES - header.length;
      header = Buffer.concat([header, rest.subarray(0, missing)]);
      rest = rest.subarray(missing);
      if (header.length < HEADER_BYTES) return;
      target = header[0] === STDERR ? stderr : stdout;
      left = header.readUInt32BE(4);
      header = Buffer.alloc(0);
    }
  });
  const end = () => {
    for (const stream of [stdout, stderr]) if (!stream.readableEnded && !stream.destroyed) stream.push(null);
  };
  // How it ended is told by the container's exit, not by its connection.
  socket.once('end', end).once('close', end).on('error', end);
  const stdin = openStdin(socket);
  return { stdin, stdout, stderr, hasSpoken: () => hasSpoken, close: () => socket.destroy() };
}

/** Only the writing half of the connection: whoever ends or destroys it keeps what is still to be read. */
function openStdin(socket: Duplex): Writable {
  const stdin = new Writable({
    write: (chunk, _encoding, done) => void socket.write(chunk, (error) => done(error)),
    final: (done) => void socket.end(() => done()),
  });
  // A program that ended reads no more; that is no failure of ours.
  stdin.on('error', () => {});
  return stdin;
}
