import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../core/log.ts';
import { attach, detach, isAnyoneAttached } from './embedded/attachments.ts';
import { addressOf, createClusterOnce, isReady, readPassword } from './embedded/cluster.ts';
import { statIfThere } from './embedded/files.ts';
import { withLock } from './embedded/lock.ts';
import { type Place, preparePlace } from './embedded/place.ts';
import {
  findPostmaster,
  launchPostmaster,
  readLogTail,
  socketFile,
  stopPostmaster,
} from './embedded/postmaster.ts';

export type EmbeddedPostgresOptions = {
  /** Usually `.millicent/pg`: it is, or for root points to, the server's folder. */
  dataDir: string;
  log: Log;
};

export type EmbeddedPostgres = { url: string; close(): Promise<void> };

const READY_MAX_MS = 120_000;
const POLL_MS = 15;
const STARTS_MAX = 20;
const START_AGAIN_MS = 250;
const WATCH_MS = 1000;
const WATCH_MAX_MS = 60_000;

/**
 * A real PostgreSQL on `dataDir`: the one that runs there, else a new one. Every process that called this
 * shares it; the last one to call `close` stops it, and those that were killed do not count. While one
 * is attached a server that dies is started again on the same port.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const place = await preparePlace(options.dataDir, options.log);
  const { note, url } = await withLock(place.control, () => attachAndStart(place, options.log));
  const stopWatching = watch(place, options.log);
  let closing: Promise<void> | undefined;
  const close = async () => {
    await stopWatching();
    await withLock(place.control, async () => {
      await detach(note);
      if (!(await isAnyoneAttached(place.attached))) await stopPostmaster(place);
    });
  };
  return {
    url,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

async function attachAndStart(place: Place, log: Log): Promise<{ note: string; url: string }> {
  const note = await attach(place.attached);
  try {
    return { note, url: await ensureRunning(place, log) };
  } catch (error) {
    await detach(note);
    throw error;
  }
}

/** Under the lock: finds the server or starts it, and waits until it answers. */
async function ensureRunning(place: Place, log: Log): Promise<string> {
  const password = await readPassword(place);
  await createClusterOnce(place, password);
  const deadline = Date.now() + READY_MAX_MS;
  let child: ChildProcess | undefined;
  for (let starts = 0; Date.now() < deadline; await sleep(POLL_MS)) {
    const running = await findPostmaster(place);
    if (running !== undefined && (await isReady(running.port, password))) {
      log.info({ ...running, isNew: starts > 0 }, 'embedded PostgreSQL is ready');
      return addressOf({ port: running.port, password, socket: await findSocket(place, running.port) });
    }
    if (running !== undefined || isAlive(child)) continue;
    if (starts === STARTS_MAX) break;
    // The port was taken in the last moment, or processes of a killed server are still ending.
    if (starts > 0) await sleep(START_AGAIN_MS);
    child = await launchPostmaster(place);
    starts += 1;
  }
  const tail = await readLogTail(place);
  throw new Error(`The embedded PostgreSQL does not start (or set DATABASE_URL); its log ends: ${tail}`);
}

/** The folder of the socket, unless somebody has removed the file, which the server never makes again. */
async function findSocket({ socket }: Place, port: number): Promise<string | undefined> {
  const isThere = socket !== undefined && (await statIfThere(socketFile(socket, port))) !== undefined;
  return isThere ? socket : undefined;
}

function isAlive(child: ChildProcess | undefined): boolean {
  return child?.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** Starts the server again when it was killed; the answer stops doing so. */
function watch(place: Place, log: Log): () => Promise<void> {
  let delayMs = WATCH_MS;
  let timer: NodeJS.Timeout;
  let busy = Promise.resolve();
  const look = async () => {
    try {
      if ((await findPostmaster(place)) === undefined) {
        log.warn({}, 'embedded PostgreSQL is gone; starting it again');
        await withLock(place.control, () => ensureRunning(place, log));
      }
      delayMs = WATCH_MS;
    } catch (error) {
      delayMs = Math.min(2 * delayMs, WATCH_MAX_MS);
      log.error({ err: error }, 'embedded PostgreSQL could not be started again');
    }
  };
  const plan = () => {
    timer = setTimeout(() => {
      busy = look().then(plan);
    }, delayMs);
    timer.unref();
  };
  plan();
  return async () => {
    clearTimeout(timer);
    await busy;
    // A look that was under way has planned the next one.
    clearTimeout(timer);
  };
}
