import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Listens on a free port, tells the parent where, and ends with it. */
export function tellReady(server: Server): void {
  server.listen(0, '127.0.0.1', () => {
    // It listens on TCP, so its address is one.
    const { port } = server.address() as AddressInfo;
    process.send?.({ kind: 'ready', url: `http://127.0.0.1:${port}` });
  });
  process.on('SIGTERM', () => process.exit(0));
  process.on('disconnect', () => process.exit(0));
}
