import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { findOnPath } from '../dev/bound-child.ts';
import { DemoFailure } from './must.ts';

const hex = z.custom<`0x${string}`>((value) => /^0x[0-9a-fA-F]+$/.test(String(value)), 'must be hex');
const devInfoSchema = z.object({
  url: z.url(),
  adminKey: z.string(),
  evm: z.object({ rpcUrl: z.url(), chainId: z.int(), token: hex, payTo: hex, payerPrivateKey: hex }),
  tempo: z.object({ rpcUrl: z.url(), chainId: z.int(), currency: hex, recipient: hex, payerPrivateKey: hex }),
  lightning: z.object({ payUrl: z.url() }),
  stripe: z.object({ apiBase: z.url(), agentKey: z.string(), networkId: z.string() }),
  anchor: z.object({ rpcUrl: z.url(), chainId: z.int(), contract: hex, receiptsContract: hex }),
  log: z.object({ origin: z.string(), vkey: z.string(), receiptsVkey: z.string() }),
});

/** What `npm run dev` tells its clients. */
export type DevInfo = z.infer<typeof devInfoSchema>;
/** A gateway of the demo's own, with its database, sandbox and rails. */
export type Gateway = { info: DevInfo; infoPath: string; logPath: string; stop(): Promise<void> };

const ROOT = resolve(import.meta.dirname, '../..');
const START_TIMEOUT_MS = 180_000;
const STOP_TIMEOUT_MS = 60_000;
const POLL_MS = 100;
const LOG_LINES_SHOWN = 25;
const LOG_LINE_CHARACTERS_SHOWN = 500;

/** Starts `npm run dev` with a throw-away data folder and waits until it serves. */
export async function startGateway(): Promise<Gateway> {
  const dataDir = mkdtempSync(join(tmpdir(), 'millicent-demo-'));
  const infoPath = join(dataDir, 'dev.json');
  const logPath = join(dataDir, 'gateway.log');
  const child = spawnDevelopment(dataDir, logPath);
  const exited = new Promise<number | null>((done) => child.once('exit', done));
  const stop = async () => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
    removeData(dataDir);
  };
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!existsSync(infoPath)) {
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    if (hasEnded || Date.now() > deadline) {
      const log = readTail(logPath);
      await stop();
      const what = hasEnded ? 'ended before it served' : 'did not serve in time';
      throw new DemoFailure(`The gateway ${what}. The end of its log:\n${log}`);
    }
    await sleep(POLL_MS);
  }
  const info = devInfoSchema.parse(JSON.parse(readFileSync(infoPath, 'utf8')));
  return { info, infoPath, logPath, stop };
}

/** The last lines the gateway wrote, for the report of a failure. */
export function readTail(path: string): string {
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN);
  return lines.map((line) => line.slice(0, LOG_LINE_CHARACTERS_SHOWN)).join('\n');
}

function removeData(dataDir: string): void {
  const database = join(dataDir, 'pg');
  stopOrphan(join(database, 'data', 'postmaster.pid'));
  // Started by root, the database lives in a folder of the system's, and this is a link to it.
  if (lstatSync(database, { throwIfNoEntry: false })?.isSymbolicLink()) {
    rmSync(dirname(resolve(dataDir, readlinkSync(database))), { recursive: true, force: true });
  }
  rmSync(dataDir, { recursive: true, force: true });
}

/** A gateway that was killed leaves its database running for the next one, which here never comes. */
function stopOrphan(pidFile: string): void {
  if (!existsSync(pidFile)) return;
  const pid = Number.parseInt(readFileSync(pidFile, 'utf8'), 10);
  try {
    process.kill(pid, 'SIGQUIT');
  } catch (cause) {
    // Gone already, which is what was wanted.
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ESRCH')) throw cause;
  }
}

function spawnDevelopment(dataDir: string, logPath: string) {
  const command = [process.execPath, '--import', 'tsx', join(ROOT, 'scripts/dev/main.ts')];
  // Where the kernel can, it stops the gateway should the demo itself be killed.
  const isBindable = process.platform === 'linux' && findOnPath('setpriv') !== undefined;
  const [program = '', ...args] = isBindable ? ['setpriv', '--pdeathsig', 'TERM', ...command] : command;
  const log = openSync(logPath, 'a');
  try {
    return spawn(program, args, {
      cwd: ROOT,
      stdio: ['ignore', log, log],
      env: { ...process.env, MILLICENT_DATA_DIR: dataDir, PORT: process.env.PORT ?? '0' },
    });
  } finally {
    closeSync(log);
  }
}
