import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** `npm start`, from the shell's point of view. */
export type NpmStart = {
  /** From the command to the first 200 of /ready. */
  seconds: number;
  /** As a supervisor does: SIGTERM, and the end awaited. Also when it was called before. */
  stop(): Promise<void>;
};

const ROOT = resolve(import.meta.dirname, '../../..');
/** A first start makes a database and the root of the sandbox. */
const READY_WITHIN_MS = 300_000;
const PROBE_TIMEOUT_MS = 60_000;
const STOP_WITHIN_MS = 60_000;
const POLL_MS = 10;
const COMPLAINT_CHARS = 4_000;

export async function startByNpm(options: { url: string; env: Record<string, string> }): Promise<NpmStart> {
  const startedAt = performance.now();
  // `npm run` tells where its npm is; the one on the PATH may be of another Node.
  const own = process.env.npm_execpath?.endsWith('npm-cli.js') ? process.env.npm_execpath : undefined;
  const [command, first] = own === undefined ? ['npm', []] : [process.execPath, [own]];
  const child = spawn(command, [...first, 'start'], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: npm, its shell and the gateway are signalled together, as by a terminal.
    detached: true,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output = (output + chunk).slice(-COMPLAINT_CHARS);
    });
  }
  let hasEnded = false;
  // Not `exit`: the pipes close when the last of the group is gone.
  const ended = new Promise<void>((done) => {
    const end = () => {
      hasEnded = true;
      done();
    };
    child.once('close', end).once('error', end);
  });
  const signal = (name: NodeJS.Signals) => {
    if (child.pid === undefined || hasEnded) return;
    try {
      process.kill(-child.pid, name);
    } catch {
      // Gone in the meantime.
    }
  };
  const kill = () => signal('SIGKILL');
  process.once('exit', kill);
  const stop = async () => {
    signal('SIGTERM');
    const timer = setTimeout(kill, STOP_WITHIN_MS);
    await ended;
    clearTimeout(timer);
    process.off('exit', kill);
  };
  const deadline = startedAt + READY_WITHIN_MS;
  while (!hasEnded && performance.now() < deadline) {
    if (await isReady(options.url)) return { seconds: (performance.now() - startedAt) / 1_000, stop };
    await sleep(POLL_MS);
  }
  await stop();
  throw new Error(`npm start does not come up: ${output.trim()}`);
}

/** While it starts nobody listens, and then it may think about its answer. */
async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
