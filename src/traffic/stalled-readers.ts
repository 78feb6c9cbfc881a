import type { Socket } from 'node:net';

/** Who is slow to read holds our memory: finds the connections to end. Runs every few seconds. */
export type StalledReaders = { sweep(sockets: Iterable<Socket>, nowMs: number): void };

export type ReaderBounds = {
  /** How long an answer may wait for its reader... */
  stallMs: number;
  /** ...unless the reader takes at least so much of it meanwhile. */
  stallBytesMin: number;
  /** What may wait in all; beyond it those go first that have stood longest. */
  waitingBytesMax: number;
};

export const READER_BOUNDS: ReaderBounds = {
  stallMs: 60_000,
  stallBytesMin: 16 * 1024,
  waitingBytesMax: 256 * 1024 * 1024,
};

/** From when on nobody took enough, and how much had been taken then. */
type Stall = { sinceMs: number; takenBytes: number };

export function createStalledReaders(bounds: ReaderBounds = READER_BOUNDS): StalledReaders {
  const { stallMs, stallBytesMin, waitingBytesMax } = bounds;
  const stalls = new WeakMap<Socket, Stall>();
  return {
    sweep(sockets, nowMs) {
      const waiting: { socket: Socket; sinceMs: number; bytes: number }[] = [];
      let total = 0;
      for (const socket of sockets) {
        const { takenBytes, waitingBytes: bytes } = readProgress(socket);
        if (bytes === 0) {
          stalls.delete(socket);
          continue;
        }
        const stall = stalls.get(socket);
        if (!stall || takenBytes - stall.takenBytes >= stallBytesMin) {
          stalls.set(socket, { sinceMs: nowMs, takenBytes });
        } else if (nowMs - stall.sinceMs >= stallMs) {
          socket.destroy();
          continue;
        }
        waiting.push({ socket, sinceMs: stall?.sinceMs ?? nowMs, bytes });
        total += bytes;
      }
      if (total <= waitingBytesMax) return;
      for (const { socket, bytes } of waiting.sort((a, b) => a.sinceMs - b.sinceMs)) {
        if (total <= waitingBytesMax) return;
        socket.destroy();
        total -= bytes;
      }
    },
  };
}

/**
 * What the system took of what was written, and what waits in this process. Of a large piece that is being written
 * only the handle knows how far it is; it is no part of the types.
 */
function readProgress(socket: Socket): { takenBytes: number; waitingBytes: number } {
  const { _handle: handle } = socket as Socket & { _handle?: Handle | null };
  const queued = handle?.writeQueueSize ?? 0;
  const written = handle?.bytesWritten ?? socket.bytesWritten;
  return { takenBytes: written - queued, waitingBytes: Math.max(socket.writableLength, queued) };
}

type Handle = { writeQueueSize?: number; bytesWritten?: number };
