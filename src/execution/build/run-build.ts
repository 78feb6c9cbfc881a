import { writeArchive } from '../../core/archive.ts';
import { sha256Hex } from '../../core/bytes.ts';
import type { Log } from '../../core/log.ts';
import { Problem } from '../../core/problem.ts';
import { timeLimit } from '../../core/time-limit.ts';
import type { Backend, Exit, Jail, JailSpec } from '../backend.ts';
import type { EgressGate } from '../egress-port.ts';
import { injectCode } from '../inject.ts';
import { awaitReady } from '../ready.ts';
import { type BuildLog, keepLog } from './build-log.ts';
import { type Installed, type InstalledBounds, readInstalled } from './installed-files.ts';
import type { BuildPlan } from './plan.ts';
import type { Installer } from './toolchain.ts';

export type BuildBounds = InstalledBounds & {
  timeoutMs: number;
  limits: JailSpec['limits'];
};

export type RunBuildInput = {
  plan: BuildPlan;
  installer: Installer;
  bounds: BuildBounds;
  /** Opens the way to the index and to nothing else. */
  openGate(): Promise<EgressGate>;
};

/** What a build came to. `log` is for the publisher. */
export type BuildRun =
  | { kind: 'built'; archive: Buffer; log: string }
  | { kind: 'refused'; detail: string; log: string };

type Deps = { backend: Pick<Backend, 'acquire'>; log: Log };

/** Installs in a jail of its own, which reaches the index alone. What it installs is never started. */
export async function runBuild(deps: Deps, input: RunBuildInput, signal: AbortSignal): Promise<BuildRun> {
  const limit = timeLimit(signal, input.bounds.timeoutMs);
  const gate = await input.openGate();
  const { runtime } = input.plan;
  try {
    const spec = { runtime, limits: input.bounds.limits, egressSocket: gate.socketPath };
    const jail = await deps.backend.acquire(spec, limit);
    try {
      return await installIn(jail, input, { gate, signal, limit });
    } finally {
      await jail
        .kill('done')
        .catch((error: unknown) => deps.log.error({ err: error }, 'a build left something'));
    }
  } catch (error) {
    if (error !== limit.reason || signal.aborted) throw error;
    return { kind: 'refused', detail: tookTooLong(input.bounds), log: '' };
  } finally {
    await gate.close();
  }
}

type Course = { gate: EgressGate; signal: AbortSignal; limit: AbortSignal };

async function installIn(jail: Jail, input: RunBuildInput, course: Course): Promise<BuildRun> {
  const { signal, limit, gate } = course;
  await awaitReady(jail, limit);
  const log = keepLog(jail.stderr);
  const end = () => void jail.kill(signal.aborted ? 'cancelled' : 'timeout').catch(() => {});
  limit.addEventListener('abort', end, { once: true });
  try {
    injectCode(jail, toCode(input));
    const installed = await readInstalled(jail.stdout, input.bounds);
    if (installed.kind === 'installed') return toArchive(installed.files, log);
    const exit = installed.kind === 'cut-off' ? await jail.exit : undefined;
    signal.throwIfAborted();
    const { refused } = await gate.close();
    for (const host of refused) log.add(`The build asked for ${host}, which is not a host of the index.`);
    return { kind: 'refused', detail: explain(installed, exit, limit, input.bounds), log: log.text() };
  } catch (error) {
    signal.throwIfAborted();
    // What came out of the jail is the publisher's matter; everything else is ours.
    if (!(error instanceof Problem) || error.type !== 'invalid-code') throw error;
    return { kind: 'refused', detail: error.options.detail, log: log.text() };
  } finally {
    limit.removeEventListener('abort', end);
  }
}

function toCode({ plan, installer }: RunBuildInput) {
  const files = new Map([...installer.files, ...plan.files, ['index.txt', Buffer.from(plan.index)] as const]);
  const archive = writeArchive(files);
  const entrypoint = plan.runtime === 'python' ? 'install.py' : 'install.mjs';
  return { sha256: sha256Hex(archive), runtime: plan.runtime, entrypoint, archive };
}

function toArchive(files: ReadonlyMap<string, Buffer>, log: BuildLog): BuildRun {
  if (files.size === 0)
    return { kind: 'refused', detail: 'The dependencies hold no files.', log: log.text() };
  return { kind: 'built', archive: writeArchive(files, { longPaths: 'pax' }), log: log.text() };
}

function explain(
  installed: Exclude<Installed, { kind: 'installed' }>,
  exit: Exit | undefined,
  limit: AbortSignal,
  bounds: BuildBounds,
): string {
  if (limit.aborted) return tookTooLong(bounds);
  if (exit?.isOutOfMemory) {
    return `Installing the dependencies took more than ${bounds.limits.memoryBytesMax / (1024 * 1024)} MB of memory.`;
  }
  if (installed.kind === 'cut-off')
    return 'Installing the dependencies ended before it was done; build_log has the end.';
  return 'The dependencies could not be installed; build_log says why.';
}

function tookTooLong({ timeoutMs }: BuildBounds): string {
  return `Installing the dependencies took longer than ${timeoutMs / 1000} seconds.`;
}
