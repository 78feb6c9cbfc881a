import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Replies } from './replies.ts';

/**
 * Requests that wait behind others of their connection. Node gives their answers no socket until it is their turn,
 * and says nothing to them when the connection ends before.
 */
export type Pipelines = {
  /** False when too many wait there already. */
  enter(socket: Socket, outgoing: ServerResponse): boolean;
  /** The answers that the connection waits for, in their order. */
  pending(socket: Socket): ServerResponse[];
  /** The newest answer says that it is the last: whatever is asked after it gets none. */
  end(socket: Socket): void;
  /** Whether a request that waits behind others can still be answered. */
  isEnding(socket: Socket): boolean;
  /** Tells every answer that never had its turn that it has nobody to go to. */
  abandon(socket: Socket): void;
};

export function createPipelines(waitingMax: number, replies: Pick<Replies, 'settle'>): Pipelines {
  const waiting = new WeakMap<Socket, Set<ServerResponse>>();
  const ending = new WeakSet<Socket>();
  return {
    enter(socket, outgoing) {
      const queue = waiting.get(socket) ?? new Set();
      if (queue.size >= waitingMax) return false;
      waiting.set(socket, queue.add(outgoing));
      outgoing.once('close', () => queue.delete(outgoing));
      return true;
    },
    pending(socket) {
      // Whoever looks at the answers wants to say something by them.
      replies.settle(socket);
      const current = currentOf(socket);
      const queue = [...(waiting.get(socket) ?? [])];
      return current && !queue.includes(current) ? [current, ...queue] : queue;
    },
    end: (socket) => void ending.add(socket),
    isEnding: (socket) => ending.has(socket),
    abandon(socket) {
      for (const outgoing of waiting.get(socket) ?? []) {
        // One that has its socket hears of it from Node.
        if (outgoing.socket) continue;
        outgoing.destroy();
        outgoing.emit('close');
      }
    },
  };
}

/** The answer that a connection is busy with, as Node keeps it; it is no part of the types. */
function currentOf(socket: Socket): ServerResponse | null | undefined {
  return (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage;
}
