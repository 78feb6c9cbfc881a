import { createServer, type Server, type Socket } from 'node:net';
import { hearOut } from '../core/hear-out.ts';
import type { Log } from '../core/log.ts';
import { type Peeked, type Peeking, peek } from './peek.ts';
import type { Parcel } from './worker-process.ts';

/** Connections between their arrival and the worker that takes them. */
export type Connections = {
  listen(address: { host: string; port: number }): Promise<number>;
  /** Takes no new ones; resolves when those that came have been given away or closed. */
  close(): Promise<void>;
};

export type ConnectionsDeps = {
  /** Gives the connection to a worker. */
  give(parcel: Parcel & Pick<Peeked, 'sight'>): void;
  log: Log;
};

/** Longer than a head takes on a slow line, short enough that silent connections do not gather here. */
const PEEK_MS = 1_000;
/** Half a minute's backlog of a machine that stands still; more are closed at once. */
const CONNECTIONS_MAX = 4_096;
const BACKLOG = 1_024;

/** Accepts on the port that all workers share, and looks into each connection before it is given away. */
export function createConnections({ give, log }: ConnectionsDeps): Connections {
  const peeking = new Map<Socket, Peeking>();
  const accept = async (socket: Socket) => {
    const look = peek(socket, PEEK_MS);
    peeking.set(socket, look);
    const peeked = await look.peeked;
    peeking.delete(socket);
    const isSilent = peeked?.bytes.length === 0;
    // While we close, a connection on which nothing was asked is nobody's.
    if (!peeked || (isSilent && !server.listening)) return socket.destroy();
    give({ socket, ...peeked });
  };
  // As Node's HTTP server opens its own: half closed connections are answered, and small writes go out at once.
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, accept);
  server.maxConnections = CONNECTIONS_MAX;
  // Told once: when it happens, it happens thousands of times a second.
  server.once('drop', () => {
    log.warn({ connectionsMax: CONNECTIONS_MAX }, 'more connections wait for a worker than are kept');
  });
  return {
    listen: (address) => listen(server, address),
    async close() {
      await hearOut(server);
      return new Promise((resolve) => {
        server.close(() => resolve());
        // What has begun to speak gets its second; a worker waits for the rest of it as for any other.
        for (const look of peeking.values()) look.hurry();
      });
    },
  };
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.removeListener('error', reject);
      server.on('error', () => {});
      const bound = server.address();
      resolve(typeof bound === 'object' && bound ? bound.port : port);
    });
  });
}
