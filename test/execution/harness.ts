import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import type { Json } from '../../src/core/canonical-json.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import {
  type BubblewrapDeps,
  createBubblewrapBackend,
} from '../../src/execution/backends/bubblewrap/index.ts';
import { ownOwnerId } from '../../src/execution/backends/bubblewrap/owner.ts';
import {
  type Backend,
  type Code,
  createExecution,
  createNoRemote,
  DEFAULT_LIMITS,
  type Execution,
  type ExecutionDeps,
  type Limits,
  type Outcome,
  type ServerRef,
} from '../../src/execution/index.ts';

/** Shared by all test files, so that the root file system is built once. */
export const WORK_DIR = join(tmpdir(), `millicent-test-sandbox-${process.getuid?.()}`);

export const SERVERS = join(import.meta.dirname, 'servers');

export const never = new AbortController().signal;

/** Code made of files of `servers/` (by name) and of others given as text. */
export function codeOf(names: string[], texts: Record<string, string> = {}, entrypoint?: string): Code {
  const files = new Map<string, Uint8Array>([
    ...names.map((name): [string, Uint8Array] => [name, readFileSync(join(SERVERS, name))]),
    ...Object.entries(texts).map(([name, text]): [string, Uint8Array] => [name, Buffer.from(text)]),
  ]);
  const start = entrypoint ?? names.at(-1) ?? Object.keys(texts)[0] ?? '';
  const archive = writeArchive(files);
  return { sha256: sha256Hex(archive), runtime: 'python', entrypoint: start, archive };
}

export const textStats = codeOf(['mcp.py', 'text_stats.py']);

export function testBackend(deps: Partial<BubblewrapDeps> = {}): Backend {
  return createBubblewrapBackend({ workDir: WORK_DIR, clock: systemClock, log: silentLog, ...deps });
}

export function testExecution(backend: Backend, settings: Partial<ExecutionDeps> = {}): Execution {
  return createExecution({
    backend,
    clock: systemClock,
    log: silentLog,
    remote: createNoRemote(),
    concurrencyMax: 4,
    queueMax: 64,
    // Warm jails would be traces: tests of the pool ask for them.
    poolMemoryBytesMax: 0,
    ...settings,
  });
}

export type CallInput = {
  code: Code;
  toolName: string;
  arguments?: { [key: string]: Json };
  limits?: Partial<Limits>;
  signal?: AbortSignal;
};

export function call(execution: Execution, input: CallInput): Promise<Outcome> {
  return execution.run(
    {
      server: hosted(input.code, input.limits),
      request: { method: 'tools/call', params: { name: input.toolName, arguments: input.arguments ?? {} } },
      outputSchema: undefined,
    },
    input.signal ?? new AbortController().signal,
  );
}

/** Code of ours with the default limits and no network, unless told. */
export function hosted(code: Code, limits: Partial<Limits> = {}): Extract<ServerRef, { kind: 'hosted' }> {
  return { kind: 'hosted', code, limits: { ...DEFAULT_LIMITS, ...limits }, hosts: [] };
}

export type Traces = { processes: string[]; cgroups: string[]; folders: string[] };

/** What jails of one owner (this process, unless told) still have on this machine. */
export async function findTraces(ownerId: string = ownOwnerId()): Promise<Traces> {
  return {
    processes: await findProcesses(join('owners', ownerId)),
    cgroups: await findCgroups(ownerId),
    folders: await findJailFolders(ownerId),
  };
}

/** Waits for nothing to be left, because an answer does not wait for its jail to be gone. */
export async function findLastingTraces(ownerId?: string): Promise<Traces> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const traces = await findTraces(ownerId);
    const count = traces.processes.length + traces.cgroups.length + traces.folders.length;
    if (count === 0 || Date.now() > deadline) return traces;
    await sleep(20);
  }
}

export const NO_TRACES: Traces = { processes: [], cgroups: [], folders: [] };

async function findProcesses(marker: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return lines.filter((line) => line.includes(marker));
}

async function findCgroups(ownerId: string): Promise<string[]> {
  const bases = ['memory/millicent', 'pids/millicent', 'cpu/millicent', 'millicent'];
  const lists = await Promise.all(bases.map((base) => readdir(join('/sys/fs/cgroup', base)).catch(() => [])));
  return lists.flat().filter((name) => name.startsWith(ownerId));
}

async function findJailFolders(ownerId: string): Promise<string[]> {
  const owner = join(WORK_DIR, 'owners', ownerId);
  const backends = await readdir(owner).catch(() => []);
  const lists = await Promise.all(backends.map((name) => readdir(join(owner, name)).catch(() => [])));
  return lists.flat().filter((name) => name.startsWith(ownerId));
}
