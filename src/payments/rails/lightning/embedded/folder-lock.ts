import { closeSync, constants, mkdirSync, openSync, realpathSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256Hex } from '../../../../core/bytes.ts';

/** A process that was killed a moment ago has released its lock by then. */
const WAIT_MAX_MS = 5_000;
const POLL_MS = 20;
/** `O_EXLOCK` of macOS and the BSDs, which Node's constants leave out: open and lock in one step. */
const OPEN_LOCKED = 0x20;

/**
 * Locks a folder for as long as this process lives or until the returned function is called. The kernel
 * releases it, so a killed process leaves no lock behind. Two nodes on one folder would publish different
 * states of one channel, for which Lightning takes all that is in it.
 */
export async function lockFolder(folder: string): Promise<() => void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const take = process.platform === 'linux' ? takeSocket : takeFile;
  const deadline = Date.now() + WAIT_MAX_MS;
  for (;;) {
    const release = await take(realpathSync(folder));
    if (release !== undefined) return release;
    if (Date.now() > deadline) throw new Error(`another process runs the Lightning node of ${folder}`);
    await sleep(POLL_MS);
  }
}

type Release = () => void;

/** A name in Linux's abstract socket namespace: it has no file and goes with its process. */
function takeSocket(folder: string): Promise<Release | undefined> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen({ path: `\0millicent-lightning-${sha256Hex(folder)}` }, () => {
      server.unref();
      resolve(() => server.close());
    });
  });
}

async function takeFile(folder: string): Promise<Release | undefined> {
  const { O_RDWR, O_CREAT, O_NONBLOCK } = constants;
  try {
    const file = openSync(join(folder, 'lock'), O_RDWR | O_CREAT | O_NONBLOCK | OPEN_LOCKED, 0o600);
    return () => closeSync(file);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return undefined;
    throw error;
  }
}
