import { z } from 'zod';
import type { Runtime } from './container-options.ts';
import { type Engine, readInfo, requestLimit } from './engine.ts';

/** What an engine says of itself; whether it is true, trial jails find out. */
export type EngineFacts = { processors: number; kernel: string };

export type EngineJudgement =
  | { kind: 'fit'; facts: EngineFacts }
  /** `why` is one sentence for the operator. */
  | { kind: 'unfit'; why: string };

const infoSchema = z.object({
  OSType: z.string(),
  Architecture: z.string(),
  NCPU: z.number(),
  KernelVersion: z.string(),
  MemoryLimit: z.boolean(),
  PidsLimit: z.boolean(),
  CpuCfsQuota: z.boolean(),
  CgroupDriver: z.string(),
  SecurityOptions: z.array(z.string()).nullish(),
  Runtimes: z.record(z.string(), z.unknown()),
});
type Info = z.infer<typeof infoSchema>;

const INFO_TIMEOUT_MS = 5_000;

/** Asks an engine what it can do (Engine API, "Get system information"). Throws when it does not answer. */
export async function judgeEngine(
  engine: Engine,
  runtime: Runtime,
  signal: AbortSignal,
): Promise<EngineJudgement> {
  const info = infoSchema.parse(await readInfo(engine, requestLimit(signal, INFO_TIMEOUT_MS)));
  const why = findFault(info, runtime);
  if (why !== undefined) return { kind: 'unfit', why };
  return { kind: 'fit', facts: { processors: Math.max(info.NCPU, 1), kernel: info.KernelVersion } };
}

const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  x64: ['x86_64', 'amd64'],
  arm64: ['aarch64', 'arm64'],
};

/** The first of what it lacks. Nothing of it is done without: a jail is a jail, or it is not started. */
function findFault(info: Info, runtime: Runtime): string | undefined {
  if (info.OSType !== 'linux') return `it runs containers of ${info.OSType}, and jails need Linux.`;
  if (!(ARCHITECTURES[process.arch] ?? []).includes(info.Architecture)) {
    return `its processor is ${info.Architecture}, and the gateway's own, of which roots are made, is ${process.arch}.`;
  }
  const limits = {
    memory: info.MemoryLimit,
    processes: info.PidsLimit,
    processor: info.CpuCfsQuota,
  };
  const missing = Object.entries(limits).filter(([, isThere]) => !isThere);
  if (info.CgroupDriver === 'none' || missing.length > 0) {
    const names = missing.map(([name]) => name).join(', ') || 'anything';
    return `it cannot limit ${names}: its machine needs control groups for that.`;
  }
  if (!(info.SecurityOptions ?? []).some((option) => option.startsWith('name=seccomp'))) {
    return 'it has no support for seccomp: its kernel or its build lacks it.';
  }
  if (!(runtime in info.Runtimes)) {
    return `it has no runtime named ${runtime}: install it and name it in the engine's daemon.json, or set DOCKER_RUNTIME=runc.`;
  }
  return undefined;
}
