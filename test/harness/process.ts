import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** A program of `test/harness/children` in a process of its own. */
export type TestProcess = {
  pid: number;
  /** The next line it prints, as JSON; rejects with what it wrote to stderr when it ends before. */
  nextLine(): Promise<unknown>;
  write(text: string): void;
  /** Asks it to end in order, and waits. */
  end(): Promise<void>;
  kill(): Promise<void>;
};

export type TestProcessOptions = {
  program: string;
  args?: string[];
  env?: NodeJS.ProcessEnv;
  ids?: { uid: number; gid: number };
  /** The checkout to run from, and the Node to run it with; ours when left out. */
  root?: string;
  node?: string;
};

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const POLL_MS = 10;

/** Starts a program; it reads from stdin and is to end when that closes. */
export function startProcess(options: TestProcessOptions): TestProcess {
  const root = options.root ?? ROOT;
  const child = spawn(
    options.node ?? process.execPath,
    ['--import', 'tsx', `test/harness/children/${options.program}`, ...(options.args ?? [])],
    { cwd: root, env: options.env ?? process.env, stdio: ['pipe', 'pipe', 'pipe'], ...options.ids },
  );
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const end = async (action: () => void) => {
    if (child.exitCode === null && child.signalCode === null) action();
    await exited;
  };
  return {
    pid: child.pid ?? 0,
    nextLine: readLines(child),
    write: (text) => {
      child.stdin.write(text);
    },
    end: () => end(() => child.stdin.end()),
    kill: () => end(() => child.kill('SIGKILL')),
  };
}

/** Asks again until the answer is not undefined or false, within a bound. */
export async function waitUntil<T>(ask: () => T | Promise<T>, maxMs = 30_000): Promise<NonNullable<T>> {
  const deadline = Date.now() + maxMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== null && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error('it did not come about in time');
    await sleep(POLL_MS);
  }
}

function readLines(child: ChildProcess): () => Promise<unknown> {
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error('the process has no pipes');
  let complaint = '';
  stderr.on('data', (chunk) => {
    complaint += chunk;
  });
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  return async () => {
    const next = await lines.next();
    if (next.done) throw new Error(complaint.trim());
    return JSON.parse(next.value);
  };
}
