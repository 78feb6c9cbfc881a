import type { Server } from 'node:net';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';

const ON_ITS_WAY_MS = 50;
/** A connection is taken in one turn of the event loop, the next one in the next, and read in another. */
const QUIET_TURNS = 5;
/** Where new ones never cease. */
const MAX_MS = 1_000;

/**
 * Lets in what had come before a server was told to stop: connections that wait to be accepted, and what was said on
 * them. The system resets them when the port is closed, and who asked would not know whether it was heard.
 */
export async function hearOut(server: Server): Promise<void> {
  let came = 0;
  const note = () => {
    came += 1;
  };
  server.on('connection', note);
  const deadline = performance.now() + MAX_MS;
  await sleep(ON_ITS_WAY_MS);
  for (let quiet = 0; quiet < QUIET_TURNS && performance.now() < deadline; ) {
    const before = came;
    await setImmediate();
    quiet = came === before ? quiet + 1 : 0;
  }
  server.off('connection', note);
}
