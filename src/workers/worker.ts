import { once } from 'node:events';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Siblings } from '../core/siblings.ts';
import { type FromWorker, isMessage, type ToWorker } from './messages.ts';
import { createSiblings } from './sibling-channel.ts';

/** This process as a worker: its end of the channel to the supervisor. */
export type Worker = {
  siblings: Siblings;
  /** Resolves when the supervisor has prepared what workers need. */
  begun: Promise<{ publicUrl: string }>;
  /** Takes connections from the supervisor, and gives them to `server` as if it had accepted them. */
  serve(server: Server): void;
  sayReady(): void;
  /** Asks the supervisor to be let go: it gives us no more connections, and then says so. */
  retire(): void;
  /** Resolves when there will be no more connections: the supervisor said so, or is gone. */
  drained: Promise<void>;
};

/** Joins the supervisor that started this process, `count` workers in all. */
export function joinSupervisor(count: number): Worker {
  const listeners: ((message: ToWorker, socket?: Socket) => void)[] = [];
  process.on('message', (message: unknown, socket?: unknown) => {
    if (!isMessage(message)) return;
    for (const listener of listeners) listener(message as ToWorker, socket as Socket | undefined);
  });
  const send = (message: FromWorker, sent: (error: Error | null) => void = () => {}) => {
    if (process.connected) process.send?.(message, undefined, undefined, sent);
    else sent(new Error('the supervisor is gone'));
  };
  listeners.push((message) => message.kind === 'look' && send({ kind: 'awake' }));
  const arriving = new Set<Promise<void>>();
  const begun = new Promise<{ publicUrl: string }>((resolve) => {
    listeners.push((message) => message.kind === 'start' && resolve(message));
  });
  const told = new Promise<void>((resolve) => {
    listeners.push((message) => message.kind === 'drain' && resolve());
  });
  const drained = Promise.race([told, once(process, 'disconnect').then(() => {})]).then(async () => {
    while (arriving.size > 0) await Promise.all(arriving);
  });
  return {
    siblings: createSiblings({ count, send, listen: (listener) => listeners.push(listener) }),
    begun,
    drained,
    serve(server) {
      // Node checks the times of connections from the moment it listens, and this server never does by itself.
      server.emit('listening');
      listeners.push((message, socket) => {
        if (message.kind !== 'connection') return;
        const arrival = take(message.id, socket).then((taken) => {
          if (taken) feed(server, taken, message.bytes);
          arriving.delete(arrival);
        });
        arriving.add(arrival);
      });
    },
    sayReady: () => send({ kind: 'ready' }),
    retire: () => send({ kind: 'retire' }),
  };

  /** Ours once the supervisor can know it: until then it may give the same connection to another worker. */
  function take(id: number, socket: Socket | undefined): Promise<Socket | undefined> {
    // It is being read already, and may end or break before the server has it.
    if (socket) socket.allowHalfOpen = true;
    socket?.on('error', () => {});
    return new Promise((resolve) => {
      send({ kind: 'took', id }, (error) => {
        if (error) socket?.destroy();
        resolve(error ? undefined : socket);
      });
    });
  }
}

/** The server sees a connection whose first bytes are just coming. */
function feed(server: Server, socket: Socket, bytes: Uint8Array): void {
  // One that is closed already would be counted for good.
  if (socket.destroyed) return;
  countAs(server, socket);
  if (bytes.length > 0) socket.unshift(bytes);
  server.emit('connection', socket);
}

/** So that closing the server waits for the connection, and its bounds count it. Not part of the types. */
function countAs(server: Server, socket: Socket): void {
  const counting = server as Server & { _connections: number };
  counting._connections += 1;
  Object.assign(socket, { server, _server: server });
}
