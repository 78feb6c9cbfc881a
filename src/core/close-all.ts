import { isDatabaseLost } from './database-lost.ts';
import type { Log } from './log.ts';

/**
 * Takes each step in its turn, whatever became of those before it. A database that is away at the end is only
 * noted: what a step would have written there, the next process finds to do. Any other failure is thrown at last.
 */
export async function closeAll(log: Log, steps: readonly ((() => unknown) | undefined)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      await step?.();
    } catch (cause) {
      if (isDatabaseLost(cause)) log.warn({ err: cause }, 'the database is away while we end');
      else failures.push(cause);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'not everything could be closed');
}
