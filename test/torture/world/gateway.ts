import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { Mutant } from '../mutant.ts';
import { freeze } from './processes.ts';

/** One gateway process, as an operator starts it. */
export type StormGateway = {
  url: string;
  pid: number;
  /** Shifts its wall clock, and no other process's. */
  shiftClock(offsetMs: number): void;
  kill(): Promise<void>;
  /** SIGSTOP amid whatever it does, and SIGCONT then. */
  freeze(until: Promise<unknown>): Promise<void>;
  /** Resolves when it ends although nobody told it to, with the last it said. */
  died: Promise<string>;
  /** SIGTERM; answers what it said at last where it did not end with 0. */
  stop(): Promise<string | undefined>;
};

export type GatewayStart = {
  env: Record<string, string>;
  /** Where it listens, whatever it is called by. */
  port: number;
  mutant: Mutant | undefined;
  /** Where its log goes. */
  logFile: string;
};

const PRELOAD = fileURLToPath(new URL('../gateway/preload.mjs', import.meta.url));
const MAIN = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const READY_MS = 90_000;

const messageSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('ready') }),
  z.object({ kind: z.literal('mutated'), file: z.string() }),
]);

export async function startStormGateway({ env, port, mutant, logFile }: GatewayStart): Promise<StormGateway> {
  const child = spawn(process.execPath, ['--import', PRELOAD, '--import', 'tsx', MAIN], {
    env: {
      PATH: process.env.PATH,
      ...env,
      PORT: String(port),
      ...(mutant && { TORTURE_MUTANT: JSON.stringify(mutant.pieces) }),
    },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const complaint = keepLog(child, logFile);
  const mutated = new Set<string>();
  const url = `http://127.0.0.1:${port}`;
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`a gateway is not ready: ${complaint()}`)), READY_MS);
    child.on('message', (said) => {
      const message = messageSchema.safeParse(said);
      if (!message.success) return;
      if (message.data.kind === 'mutated') mutated.add(message.data.file);
      else {
        clearTimeout(late);
        resolve();
      }
    });
    void ended.then((code) => {
      clearTimeout(late);
      reject(new Error(`a gateway ended with ${code}: ${complaint()}`));
    });
  });
  const missing = mutant?.pieces.filter(({ file }) => !mutated.has(file)) ?? [];
  if (missing.length > 0) {
    child.kill('SIGKILL');
    throw new Error(`the mutant was not imported: ${missing.map(({ file }) => file).join(', ')}`);
  }
  let isTold = false;
  const died = new Promise<string>((resolve) => {
    void ended.then((code) => isTold || resolve(`ended by itself with ${code}: ${complaint()}`));
  });
  const end = async (signal: 'SIGKILL' | 'SIGTERM') => {
    isTold = true;
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    return ended;
  };
  return {
    ...{ url, died, pid: child.pid ?? 0 },
    shiftClock: (offsetMs) => {
      if (child.connected) child.send({ kind: 'clock', offsetMs });
    },
    freeze: (until) => freeze(child.pid === undefined ? [] : [child.pid], until),
    kill: async () => void (await end('SIGKILL')),
    stop: async () => {
      const code = await end('SIGTERM');
      return code === 0 ? undefined : `SIGTERM ended a gateway with ${code}: ${complaint()}`;
    },
  };
}

const COMPLAINT_MAX = 2_000;

/** Everything it says goes to a file; the last of it is told where it fails to start. */
function keepLog(child: ChildProcess, logFile: string): () => string {
  const file = createWriteStream(logFile, { flags: 'a' });
  const last = { stderr: '', stdout: '' };
  for (const name of ['stderr', 'stdout'] as const) {
    child[name]?.on('data', (chunk: Buffer) => {
      last[name] = (last[name] + chunk.toString()).slice(-COMPLAINT_MAX);
      file.write(chunk);
    });
  }
  child.once('close', () => file.end());
  // What ended it stands on stderr, and its log is longer.
  return () => `${last.stderr}${last.stdout}`.trim();
}
