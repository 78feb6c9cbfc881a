import type { Server } from 'node:http';
import { createAdaptorServer, type Http2Bindings, type HttpBindings } from '@hono/node-server';

const HEADERS_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** Longer than a call that waits for a place, runs, and settles. */
const DRAIN_MS = 60_000;

export type Bindings = HttpBindings | Http2Bindings;
export type Fetch = (request: Request, env: Bindings) => Response | Promise<Response>;

/** The HTTP server around an app: time limits for callers who are slow on purpose. */
export function createServer(fetch: Fetch): Server {
  // The adaptor's type covers HTTP/2 too; without options it makes a plain HTTP/1.1 server.
  const server = createAdaptorServer({ fetch }) as Server;
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.maxHeadersCount = 100;
  return server;
}

/** Resolves with the port. */
export function listen(server: Server, address: { host: string; port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, () => {
      const bound = server.address();
      resolve(typeof bound === 'object' && bound ? bound.port : address.port);
    });
  });
}

/** Takes no new connection, lets requests under way finish, and gives up on them after a bound. */
export function drain(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
