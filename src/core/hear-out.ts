import { setImmediate, setTimeout as sleep } from 'node:timers/promises';

const ON_ITS_WAY_MS = 50;
/** A connection is taken in one turn of the event loop, and read in the next. */
const TURNS = 3;

/**
 * Lets in what had come before somebody was told to stop: connections that wait to be accepted, and what was said on
 * them. The system resets them when the port is closed, and who asked would not know whether it was heard.
 */
export async function hearOut(): Promise<void> {
  await sleep(ON_ITS_WAY_MS);
  for (let turn = 0; turn < TURNS; turn += 1) await setImmediate();
}
