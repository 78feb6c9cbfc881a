import { createContext, Script } from 'node:vm';

/** Runs synchronous work and stops it by force when it takes longer than `timeoutMs`. */
export type TimeLimit = <T>(
  work: () => T,
  timeoutMs: number,
) => { kind: 'done'; value: T } | { kind: 'too-slow' };

/** How often work is begun anew that the machine gave no time to. */
const STALLS_MAX = 5;

/**
 * A bound on work whose cost a stranger decides, such as matching their regular expressions: V8 itself ends
 * it, also in the middle of one expression. This is a stopwatch and no jail: the work is our own code.
 * The stopwatch also runs while a busy machine lets others work: whoever used less than half of that time is
 * not too slow, and begins anew.
 */
export function createTimeLimit(): TimeLimit {
  const global: { work: (() => unknown) | undefined } = { work: undefined };
  const context = createContext(global);
  const script = new Script('work()');
  return (work, timeoutMs) => {
    global.work = work;
    try {
      const startedAt = process.cpuUsage();
      for (let stalls = 0; ; stalls += 1) {
        try {
          // The script returns what `work` returned, and nothing else.
          const value = script.runInContext(context, { timeout: timeoutMs }) as ReturnType<typeof work>;
          return { kind: 'done', value };
        } catch (error) {
          if (!hasCode(error, 'ERR_SCRIPT_EXECUTION_TIMEOUT')) throw error;
          if (stalls === STALLS_MAX || usedMs(startedAt) >= timeoutMs / 2) return { kind: 'too-slow' };
        }
      }
    } finally {
      global.work = undefined;
    }
  };
}

function usedMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1_000;
}

/** The error belongs to the other context, so `instanceof Error` would not know it. */
function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}
