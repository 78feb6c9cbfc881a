import { serve } from '@hono/node-server';
import type { Hono } from 'hono';

/** Listens on a free port and tells the parent where. */
export function serveApp(app: Hono): void {
  const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
    process.send?.({ kind: 'ready', url: `http://127.0.0.1:${port}` });
  });
  process.on('SIGTERM', () => server.close(() => process.exit(0)));
  process.on('disconnect', () => process.exit(0));
}
