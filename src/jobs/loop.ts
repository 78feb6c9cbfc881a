import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../core/log.ts';

export type Job = { name: string; everyMs: number; run(signal: AbortSignal): Promise<unknown> };

/** Runs each job over and over, one at a time with itself, until closed. A failed round is logged and over. */
export function startJobs(jobs: readonly Job[], log: Log): { close(): Promise<void> } {
  const stop = new AbortController();
  // As many listen as there are jobs; without this Node warns of the eleventh.
  setMaxListeners(0, stop.signal);
  const loops = jobs.map((job) => repeat(job, log, stop.signal));
  return {
    async close() {
      stop.abort();
      await Promise.all(loops);
    },
  };
}

async function repeat(job: Job, log: Log, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await job.run(signal);
    } catch (cause) {
      // A job finishes what others left: the next round finds what this one could not do.
      if (!signal.aborted) log.error({ job: job.name, err: cause }, 'a job failed');
    }
    await sleep(job.everyMs, undefined, { signal }).catch(() => {});
  }
}
