import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { findOnPath } from '../../dev/bound-child.ts';

/** An HTTP server in a process of its own, whose CPU can be told from everyone else's. */
export type ServerProcess = {
  url: string;
  pid: number;
  /** Sends a message on the IPC channel and waits for the answer that has its `kind`. */
  ask(message: { kind: string }): Promise<unknown>;
  stop(): Promise<void>;
};

export type ServerOptions = {
  /** From the root of the project; says `{kind: 'ready', url}` on its IPC channel once it listens. */
  script: string;
  pin: string[];
  env?: Record<string, string>;
  /** Modules of the project that are loaded before the script. */
  preload?: string[];
  /** What Node itself is told. */
  flags?: string[];
  /** Another Node, which then runs the script as it is and not through tsx. */
  node?: string;
};

const ROOT = resolve(import.meta.dirname, '../../..');
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 40_000;
const ASK_TIMEOUT_MS = 60_000;
const COMPLAINT_CHARS = 4_000;

export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const prefix = [...options.pin, ...dieWithParent()];
  const imports = (options.preload ?? []).flatMap((path) => ['--import', resolve(ROOT, path)]);
  const program = options.node
    ? [options.node]
    : [process.execPath, ...(options.flags ?? []), '--import', 'tsx', ...imports];
  const [command = '', ...args] = [...prefix, ...program, options.script];
  const child = spawn(command, args, {
    cwd: ROOT,
    // The environment of whoever runs the bench must not configure what is measured.
    // Production unless it is told otherwise: libraries are quicker there, peers' as well as ours.
    env: { NODE_ENV: 'production', PATH: process.env.PATH, HOME: process.env.HOME, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      output = (output + chunk).slice(-COMPLAINT_CHARS);
    });
  }
  const exited = new Promise<void>((done) => child.once('exit', () => done()));
  const stop = async () => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  };
  const url = await new Promise<string | undefined>((done) => {
    const timer = setTimeout(() => done(undefined), START_TIMEOUT_MS);
    const end = (value: string | undefined) => {
      clearTimeout(timer);
      done(value);
    };
    child.on('message', (message: { kind?: string; url?: string }) => {
      if (message.kind === 'ready') end(message.url);
    });
    child.once('error', () => end(undefined));
    exited.then(() => end(undefined));
  });
  if (url !== undefined && child.pid !== undefined) {
    return { url, pid: child.pid, stop, ask: (message) => ask(child, message) };
  }
  if (child.pid !== undefined) await stop();
  throw new Error(`${options.script} does not start: ${output.trim() || 'it says nothing'}`);
}

function ask(child: ChildProcess, message: { kind: string }): Promise<unknown> {
  return new Promise((done, fail) => {
    const end = (settle: () => void) => {
      clearTimeout(timer);
      child.off('message', hear).off('exit', leave);
      settle();
    };
    const hear = (answer: { kind?: string }) => {
      if (answer.kind === message.kind) end(() => done(answer));
    };
    const leave = () => end(() => fail(new Error(`the server ended instead of answering ${message.kind}`)));
    const timer = setTimeout(
      () => end(() => fail(new Error(`the server does not answer ${message.kind}`))),
      ASK_TIMEOUT_MS,
    );
    child.on('message', hear).on('exit', leave);
    child.send(message);
  });
}

/** A bench that is killed must not leave servers behind that others measure beside. */
function dieWithParent(): string[] {
  const isThere = process.platform === 'linux' && findOnPath('setpriv') !== undefined;
  return isThere ? ['setpriv', '--pdeathsig', 'KILL'] : [];
}
