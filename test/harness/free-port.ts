import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below the ports that systems give to outgoing connections: none of those takes it meanwhile. */
const [FIRST, COUNT] = [20_000, 10_000];

/** A port of this machine that was free a moment ago, for what has to be told one. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    const server = createServer();
    const taken = once(server, 'error').then(() => true);
    const free = once(server, 'listening').then(() => false);
    server.listen(port, '127.0.0.1');
    if (await Promise.race([taken, free])) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
