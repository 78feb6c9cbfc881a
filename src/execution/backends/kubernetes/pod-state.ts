import { z } from 'zod';

const stateSchema = z.object({
  running: z.object({}).nullish(),
  waiting: z.object({ reason: z.string().default(''), message: z.string().default('') }).nullish(),
  terminated: z
    .object({ exitCode: z.int(), signal: z.int().nullish(), reason: z.string().default('') })
    .nullish(),
});

/** What we read of a pod (Kubernetes API reference, "Pod"). */
export const podSchema = z.object({
  metadata: z.object({
    name: z.string(),
    labels: z.record(z.string(), z.string()).nullish(),
    deletionTimestamp: z.string().nullish(),
    resourceVersion: z.string().default(''),
  }),
  status: z
    .object({
      phase: z.string().default('Pending'),
      reason: z.string().nullish(),
      message: z.string().nullish(),
      conditions: z
        .array(z.object({ type: z.string(), status: z.string(), reason: z.string().nullish() }))
        .nullish(),
      containerStatuses: z.array(z.object({ state: stateSchema.nullish() })).nullish(),
    })
    .default({ phase: 'Pending' }),
});
export type Pod = z.infer<typeof podSchema>;

export type PodState =
  | { kind: 'starting'; isWithoutNode: boolean }
  | { kind: 'running' }
  /** The program ended, by itself or by the kernel. */
  | { kind: 'ended'; code: number | null; signal: string | null; isOutOfMemory: boolean; reason: string }
  /** It will never start, or was ended by the cluster and not by its program. */
  | { kind: 'lost'; why: string };

/** What a container that waits for this will go on waiting for. */
const HOPELESS =
  /^(ErrImagePull|ImagePullBackOff|ErrImageNeverPull|InvalidImageName|ImageInspectError|RegistryUnavailable|CreateContainer(Config)?Error|RunContainerError|CrashLoopBackOff|PreStartHookError)$/;
/** The runtime could not start the program at all. */
const NEVER_STARTED = /^(StartError|ContainerCannotRun|ContainerStatusUnknown)$/;

export function judgePod(pod: Pod): PodState {
  const { phase, reason, containerStatuses, conditions } = pod.status;
  const state = containerStatuses?.[0]?.state;
  // Evicted, DeadlineExceeded, Preempting, NodeLost, Shutdown: not the program's doing, whatever its exit code says.
  if (phase === 'Failed' && reason) return { kind: 'lost', why: `the cluster ended its pod (${reason})` };
  if (state?.terminated) {
    const { exitCode, signal, reason: how } = state.terminated;
    if (NEVER_STARTED.test(how)) return { kind: 'lost', why: `its container could not be started (${how})` };
    return {
      kind: 'ended',
      ...spellEnd(exitCode, signal ?? 0),
      isOutOfMemory: how === 'OOMKilled',
      reason: how,
    };
  }
  if (phase === 'Failed' || phase === 'Succeeded')
    return { kind: 'lost', why: 'its pod ended without a word' };
  if (pod.metadata.deletionTimestamp) return { kind: 'lost', why: 'somebody deleted its pod' };
  if (state?.running) return { kind: 'running' };
  if (state?.waiting && HOPELESS.test(state.waiting.reason))
    return { kind: 'lost', why: describeWait(state.waiting.reason) };
  const isWithoutNode =
    conditions?.some(({ type, status, reason: why }) => {
      return type === 'PodScheduled' && status === 'False' && why === 'Unschedulable';
    }) ?? false;
  return { kind: 'starting', isWithoutNode };
}

function describeWait(reason: string): string {
  return /Image|Registry/.test(reason)
    ? `the image of its jails cannot be pulled (${reason}): push it, and see to imagePullSecrets of the namespace's default service account`
    : `its container cannot be made (${reason})`;
}

const SIGNAL_EXIT = 128;

/** A shell's convention, which container runtimes keep: 128 and the signal's number. */
function spellEnd(exitCode: number, signal: number): { code: number | null; signal: string | null } {
  const name = SIGNALS[signal] ?? SIGNALS[exitCode - SIGNAL_EXIT];
  return name === undefined ? { code: exitCode, signal: null } : { code: null, signal: name };
}

const SIGNALS: Readonly<Record<number, string>> = {
  ...{ 1: 'SIGHUP', 2: 'SIGINT', 3: 'SIGQUIT', 4: 'SIGILL', 5: 'SIGTRAP', 6: 'SIGABRT', 7: 'SIGBUS' },
  ...{ 8: 'SIGFPE', 9: 'SIGKILL', 10: 'SIGUSR1', 11: 'SIGSEGV', 12: 'SIGUSR2', 13: 'SIGPIPE', 14: 'SIGALRM' },
  ...{ 15: 'SIGTERM', 24: 'SIGXCPU', 25: 'SIGXFSZ', 31: 'SIGSYS' },
};
