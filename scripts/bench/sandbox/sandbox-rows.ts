import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { createBubblewrapBackend } from '../../../src/execution/backends/bubblewrap/index.ts';
import { createNoRemote } from '../../../src/execution/backends/none.ts';
import { createExecution, DEFAULT_LIMITS, type Execution } from '../../../src/execution/index.ts';
import type { Plan } from '../plan.ts';
import { compareRounds, median } from '../ratios.ts';
import { measureRounds, type Progress, type Samples, type Variant } from '../rounds.ts';
import { type Finding, findEach, type Measured, type RowName, type Skipped } from '../targets.ts';
import { findDockerPeer } from './docker-peer.ts';
import { ECHO_ARGUMENTS, ECHO_CODE } from './echo-server.ts';

type SandboxRow = Extract<RowName, `sandbox-${string}`>;
type Side = 'warm' | 'cold' | 'docker';
/** What one round saw of single calls, milliseconds. */
type Latency = { p50: number; p95: number };

const SIDES: Record<SandboxRow, { ours: Side; peer: Side; turn: 'ours/peer' | 'peer/ours' }> = {
  'sandbox-warm': { ours: 'warm', peer: 'cold', turn: 'ours/peer' },
  'sandbox-docker': { ours: 'warm', peer: 'docker', turn: 'peer/ours' },
  'sandbox-docker-cold': { ours: 'cold', peer: 'docker', turn: 'peer/ours' },
};

const POOL_BYTES = 256 * 1024 * 1024;
/** Between two calls, so that each is a single one and finds the machine at rest. */
const PAUSE_MS = 150;

/** One call of a small Python server, from its code to its answer: with a jail that waits, without, and by `docker run`. */
export async function measureSandbox({ progress }: { progress: Progress }, plan: Plan): Promise<Finding[]> {
  const rows = plan.rows.filter((row): row is SandboxRow => row.startsWith('sandbox-'));
  if (rows.length === 0) return [];
  const workDir = await mkdtemp(join(tmpdir(), 'millicent-bench-sandbox-'));
  const [warm, cold] = [POOL_BYTES, 0].map((bytes) => openSandbox(workDir, bytes));
  if (warm === undefined || cold === undefined) throw new RangeError('there are two');
  progress('building the root of the sandbox');
  const status = await warm.status();
  await cold.status();
  const python = status.kind === 'ready' ? status.capabilities.roots.python : undefined;
  const docker = await findDockerPeer(workDir, python);
  try {
    if (python === undefined) return rows.map((row) => ({ row, skipped: 'no sandbox for Python here' }));
    const calls: Partial<Record<Side, () => Promise<unknown>>> = {
      warm: () => callEcho(warm),
      cold: () => callEcho(cold),
      ...('call' in docker ? { docker: docker.call } : {}),
    };
    const samples = await measureRounds(toVariants(calls, plan), { rounds: plan.rounds, progress });
    return findEach(rows, (row) => toFigure(row, samples, 'call' in docker ? undefined : docker.missing));
  } finally {
    if ('call' in docker) await docker.close();
    await Promise.all([warm.close(), cold.close()]);
    await rm(workDir, { recursive: true, force: true });
  }
}

function openSandbox(workDir: string, poolMemoryBytesMax: number): Execution {
  return createExecution({
    backend: createBubblewrapBackend({ workDir, clock: systemClock, log: silentLog }),
    remote: createNoRemote(),
    ...{ poolMemoryBytesMax, concurrencyMax: 4, queueMax: 4, clock: systemClock, log: silentLog },
  });
}

async function callEcho(execution: Execution): Promise<void> {
  const outcome = await execution.run(
    {
      server: { kind: 'hosted', code: ECHO_CODE, limits: DEFAULT_LIMITS, hosts: [] },
      request: { method: 'tools/call', params: { name: 'echo', arguments: ECHO_ARGUMENTS } },
      outputSchema: undefined,
    },
    new AbortController().signal,
  );
  if (outcome.kind !== 'delivered') throw new Error(`a sandboxed call failed: ${outcome.detail}`);
}

function toVariants(
  calls: Partial<Record<Side, () => Promise<unknown>>>,
  { seconds, warmSeconds }: Plan,
): Variant<Latency>[] {
  return Object.entries(calls).map(([name, call]) => ({
    name: `sandbox, ${name}`,
    warm: () => time(call, warmSeconds),
    measure: () => time(call, seconds),
  }));
}

async function time(call: () => Promise<unknown>, seconds: number): Promise<Latency> {
  const taken: number[] = [];
  const deadline = performance.now() + seconds * 1_000;
  do {
    await sleep(PAUSE_MS);
    const startedAt = performance.now();
    await call();
    taken.push(performance.now() - startedAt);
  } while (performance.now() < deadline);
  taken.sort((a, b) => a - b);
  return { p50: median(taken), p95: taken[Math.ceil(taken.length * 0.95) - 1] ?? Number.NaN };
}

function toFigure(
  row: SandboxRow,
  samples: Samples<Latency>,
  missing: string | undefined,
): Omit<Measured, 'row'> | Omit<Skipped, 'row'> {
  const { ours: mine, peer: other, turn } = SIDES[row];
  const ours = samples.of(`sandbox, ${mine}`);
  if (other === 'docker' && missing !== undefined) return { skipped: `${missing} (ours: ${spell(ours)})` };
  const peer = samples.of(`sandbox, ${other}`);
  const [mineP50, otherP50] = [ours.map(({ p50 }) => p50), peer.map(({ p50 }) => p50)];
  const measured = turn === 'ours/peer' ? compareRounds(mineP50, otherP50) : compareRounds(otherP50, mineP50);
  return { measured, ours: spell(ours), peer: spell(peer) };
}

function spell(rounds: readonly Latency[]): string {
  const [p50, p95] = [median(rounds.map((round) => round.p50)), median(rounds.map((round) => round.p95))];
  return `p50 ${p50.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms`;
}
