import { Readable, Writable } from 'node:stream';
import type WebSocket from 'ws';
import { z } from 'zod';
import { READY_LINE } from '../../inject.ts';
import type { Cluster } from './cluster.ts';

/** What a program in a pod says and hears. */
export type Attachment = {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Whether the bootstrap said that it is ready, here or in the log. */
  isReady(): boolean;
  /** The log has the bootstrap's line: attaching does not repeat what was said before. */
  noteReady(): void;
  /** Whether the output ended in order, as the kubelet tells, or the connection broke. */
  readonly end: Promise<'in-order' | 'broken'>;
  /** Ends the connection, with which the program's stdin ends. */
  close(): void;
};

export type AttachInput = { cluster: Cluster; namespace: string; podName: string; container: string };

const V5 = 'v5.channel.k8s.io';
const V4 = 'v4.channel.k8s.io';
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, status: 3, close: 255 } as const;
const READY = Buffer.from(`${READY_LINE}\n`);
/** As large as the pieces of Kubernetes' own clients. */
const PIECE_BYTES = 32 * 1024;
const PING_MS = 10_000;

const statusSchema = z.object({ status: z.enum(['Success', 'Failure']) });

/**
 * Connects with the container of a pod that runs (remote command protocol, v5.channel.k8s.io or v4): each binary
 * message is one byte of channel and a piece of its stream. What nobody reads is not taken from the connection, so that
 * a flood waits in the pod and not in our memory.
 */
export async function attach(input: AttachInput, signal: AbortSignal): Promise<Attachment> {
  const { cluster, namespace, podName, container } = input;
  const output = createOutput();
  const hear = (message: Buffer) => {
    const piece = message.subarray(1);
    switch (message[0]) {
      case CHANNEL.stdout:
        return output.giveStdout(piece);
      case CHANNEL.stderr:
        return output.giveStderr(piece);
      case CHANNEL.status:
        return output.finish(readStatus(piece) === 'Success' ? 'in-order' : 'broken');
    }
  };
  const socket = await cluster.connect(
    {
      path: `/api/v1/namespaces/${namespace}/pods/${podName}/attach`,
      query: { container, stdin: 'true', stdout: 'true', stderr: 'true', tty: 'false' },
      protocols: [V5, V4],
      onMessage: hear,
    },
    signal,
  );
  output.flowOf(socket);
  socket.once('close', () => output.finish('broken'));
  if (socket.readyState !== socket.OPEN) output.finish('broken');
  watchPulse(socket, output.isFull);
  return {
    stdin: openStdin(socket),
    ...{ stdout: output.stdout, stderr: output.stderr, end: output.ended },
    isReady: output.isReady,
    noteReady: output.noteReady,
    close: () => socket.terminate(),
  };
}

/** Two streams of one connection, of which each holds back the other: they are of one program. */
function createOutput() {
  const full = new Set<Readable>();
  let socket: WebSocket | undefined;
  let isReady = false;
  let isEnded = false;
  let tellEnd = (_how: 'in-order' | 'broken') => {};
  const ended = new Promise<'in-order' | 'broken'>((resolve) => {
    tellEnd = resolve;
  });
  // What stdout began with, until it is known whether it is the bootstrap's line.
  let head: Buffer | undefined = Buffer.alloc(0);
  const goOn = (stream: Readable) => {
    if (full.delete(stream) && full.size === 0) socket?.resume();
  };
  const stdout = new Readable({ read: () => goOn(stdout) });
  const stderr = new Readable({ read: () => goOn(stderr) });
  const give = (stream: Readable, piece: Buffer) => {
    if (piece.length === 0 || isEnded || stream.destroyed || stream.push(piece)) return;
    full.add(stream);
    socket?.pause();
  };
  const noteReady = () => {
    if (isReady) return;
    isReady = true;
    give(stdout, READY);
  };
  return {
    ...{ stdout, stderr, noteReady },
    isReady: () => isReady,
    isFull: () => full.size > 0,
    flowOf(connected: WebSocket) {
      socket = connected;
      if (full.size > 0) socket.pause();
    },
    giveStderr: (piece: Buffer) => give(stderr, piece),
    giveStdout(piece: Buffer) {
      if (head === undefined) return give(stdout, piece);
      const seen = Buffer.concat([head, piece]);
      if (seen.length < READY.length && READY.subarray(0, seen.length).equals(seen)) {
        head = seen;
        return;
      }
      head = undefined;
      // Told once, whether it came by the log before, or comes here only.
      const isLine = seen.subarray(0, READY.length).equals(READY);
      if (isLine) noteReady();
      give(stdout, isLine ? seen.subarray(READY.length) : seen);
    },
    ended,
    finish(how: 'in-order' | 'broken') {
      if (isEnded) return;
      if (head !== undefined && head.length > 0) give(stdout, head);
      head = undefined;
      isEnded = true;
      for (const stream of [stdout, stderr]) if (!stream.destroyed) stream.push(null);
      tellEnd(how);
    },
  };
}

function openStdin(socket: WebSocket): Writable {
  const stdin = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
        const piece = chunk.subarray(start, start + PIECE_BYTES);
        const isLast = start + PIECE_BYTES >= chunk.length;
        socket.send(
          Buffer.concat([Buffer.of(CHANNEL.stdin), piece]),
          isLast ? (error) => done(error) : undefined,
        );
      }
      if (chunk.length === 0) done();
    },
    final(done) {
      // Version 4 cannot end one stream: there stdin ends with the connection.
      if (socket.protocol === V5) socket.send(Buffer.of(CHANNEL.close, CHANNEL.stdin), () => done());
      else done();
    },
  });
  // A program that ended reads no more; that is no failure of ours.
  stdin.on('error', () => {});
  return stdin;
}

/** A connection whose other side is gone without a word is ended, so that its call can be told. */
function watchPulse(socket: WebSocket, isPaused: () => boolean): void {
  let isAnswered = true;
  socket.on('pong', () => {
    isAnswered = true;
  });
  const timer = setInterval(() => {
    // Who does not read sees no answers.
    if (!isAnswered && !isPaused()) return socket.terminate();
    isAnswered = false;
    socket.ping(() => {});
  }, PING_MS);
  timer.unref();
  socket.once('close', () => clearInterval(timer));
}

function readStatus(piece: Buffer): 'Success' | 'Failure' {
  try {
    return statusSchema.parse(JSON.parse(piece.toString())).status;
  } catch {
    return 'Failure';
  }
}
