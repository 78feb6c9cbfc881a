import { type ChildProcess, spawn } from 'node:child_process';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ownAsParent, readIfThere, statIfThere, writePrivately } from './files.ts';
import type { Place } from './place.ts';
import { hasArgument, identifyProcess } from './process-identity.ts';
import { CHILD_ENVIRONMENT } from './system-user.ts';

const LOG_BYTES_MAX = 5_000_000;
const LOG_TAIL_BYTES = 2000;
const POLL_MS = 10;
const STOP_STEPS = [
  { signal: 'SIGINT', waitMs: 15_000 },
  { signal: 'SIGQUIT', waitMs: 10_000 },
  { signal: 'SIGKILL', waitMs: 5_000 },
] as const;

const SOCKET_PREFIX = '.s.PGSQL.';

/** A pid that no system gives out. */
const IMPOSSIBLE_PID = 2 ** 31 - 1;

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  shared_buffers: '128MB',
  max_connections: '200',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
  // What a client does wrong is told to the client; the file is for the server's own troubles.
  log_min_messages: 'log',
};

/**
 * Of glibc, mallopt(3): a process that frees up to so much keeps it for its next statement. Else a charge of some
 * hundred calls spends a twentieth of its time on having its memory given and taken.
 */
const ALLOCATOR = { MALLOC_TRIM_THRESHOLD_: '8388608', MALLOC_MMAP_THRESHOLD_: '4194304' };

/** A running server, as its own `postmaster.pid` tells. */
export type Postmaster = { pid: number; port: number };

/** The server that runs on this data directory, whoever started it; it may not be ready yet. */
export async function findPostmaster(place: Place): Promise<Postmaster | undefined> {
  const lines = ((await readIfThere(join(place.data, 'postmaster.pid'))) ?? '').split('\n');
  const [pid, port] = [Number(lines[0]), Number(lines[3])];
  if (!(pid > 0 && port > 0)) return undefined;
  return isServing(pid, place) ? { pid, port } : undefined;
}

/** Starts the server as a process that outlives us; it may still fail, and is not ready yet. */
export async function launchPostmaster(place: Place): Promise<ChildProcess> {
  await disownReusedPid(place);
  if (place.socket !== undefined) await emptySocketFolder(place.socket);
  const port = await choosePort(place);
  const settings = { ...SETTINGS, unix_socket_directories: place.socket ?? '' };
  const log = await openLog(place.logFile);
  try {
    const child = spawn(
      join(place.binaries, 'bin', 'postgres'),
      [
        '-D',
        place.data,
        '-p',
        String(port),
        ...Object.entries(settings).flatMap(([k, v]) => ['-c', `${k}=${v}`]),
      ],
      // Its own session and a file instead of a pipe: neither our end nor a ctrl-C reaches it.
      {
        ...place.runAs,
        cwd: place.data,
        env: { ...CHILD_ENVIRONMENT, ...ALLOCATOR },
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
      },
    );
    // Without a listener a failed start would end the process; the exit code tells the caller.
    child.on('error', () => {});
    child.unref();
    return child;
  } finally {
    await log.close();
  }
}

/** Stops the server after its running transactions were undone; harder when it does not listen. */
export async function stopPostmaster(place: Place): Promise<void> {
  for (const { signal, waitMs } of STOP_STEPS) {
    const running = await findPostmaster(place);
    if (running === undefined) return;
    process.kill(running.pid, signal);
    const deadline = Date.now() + waitMs;
    while (Date.now() < deadline && isServing(running.pid, place)) await sleep(POLL_MS);
  }
}

/** What the server last wrote to its log, for an error message. */
export async function readLogTail(place: Place): Promise<string> {
  const text = (await readIfThere(place.logFile)) ?? '';
  return text.slice(-LOG_TAIL_BYTES).trim();
}

/** Its own processes rename themselves, so this is the postmaster and not one of them. */
function isServing(pid: number, place: Place): boolean {
  return hasArgument(pid, place.data);
}

/**
 * After a crash the pid in `postmaster.pid` may be another program's by now, and PostgreSQL would refuse to
 * start. The file must stay: its last lines are how PostgreSQL notices survivors of the crash.
 */
async function disownReusedPid(place: Place): Promise<void> {
  const path = join(place.data, 'postmaster.pid');
  const text = await readIfThere(path);
  if (text === undefined || identifyProcess(Number.parseInt(text, 10)) === undefined) return;
  await writePrivately(path, text.replace(/^\d+/, String(IMPOSSIBLE_PID)));
}

/** What a killed server left: its lock would keep the next one out for as long as another program has its pid. */
async function emptySocketFolder(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(SOCKET_PREFIX)) await rm(join(folder, name), { force: true });
  }
}

/** The socket's file, where clients find it. */
export function socketFile(folder: string, port: number): string {
  return join(folder, `${SOCKET_PREFIX}${port}`);
}

/** The port of the last time while it is free, so that pools of other processes find a restarted server. */
async function choosePort(place: Place): Promise<number> {
  const path = join(place.control, 'port');
  const last = Number(await readIfThere(path));
  const port = (last > 0 ? await probePort(last) : undefined) ?? (await probePort(0));
  if (port === undefined) throw new Error('There is no free port on 127.0.0.1 for PostgreSQL.');
  await writePrivately(path, String(port));
  return port;
}

function probePort(wanted: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' ? address?.port : undefined));
    });
  });
}

async function openLog(path: string) {
  const size = (await statIfThere(path))?.size ?? 0;
  if (size > LOG_BYTES_MAX) await rename(path, `${path}.1`);
  const file = await open(path, 'a', 0o600);
  await ownAsParent(path);
  return file;
}
