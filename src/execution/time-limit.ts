import { createContext, Script } from 'node:vm';

/** Runs synchronous work and stops it by force when it takes longer than `timeoutMs`. */
export type TimeLimit = <T>(
  work: () => T,
  timeoutMs: number,
) => { kind: 'done'; value: T } | { kind: 'too-slow' };

/**
 * A bound on work whose cost a stranger decides, such as matching their regular expressions: V8 itself ends
 * it, also in the middle of one expression. This is a stopwatch and no jail: the work is our own code.
 */
export function createTimeLimit(): TimeLimit {
  const global: { work: (() => unknown) | undefined } = { work: undefined };
  const context = createContext(global);
  const script = new Script('work()');
  return (work, timeoutMs) => {
    global.work = work;
    try {
      // The script returns what `work` returned, and nothing else.
      return {
        kind: 'done',
        value: script.runInContext(context, { timeout: timeoutMs }) as ReturnType<typeof work>,
      };
    } catch (error) {
      if (hasCode(error, 'ERR_SCRIPT_EXECUTION_TIMEOUT')) return { kind: 'too-slow' };
      throw error;
    } finally {
      global.work = undefined;
    }
  };
}

/** The error belongs to the other context, so `instanceof Error` would not know it. */
function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}
