import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../../core/log.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { LightningProvider } from './provider.ts';

/** Whether the node can be paid now, as of the last look. */
export type Health = {
  isUp(): boolean;
  /** A call just failed: nothing is offered until the next look says otherwise. */
  noteDown(): void;
  check(signal: AbortSignal): Promise<void>;
  /** Looks until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
};

/** Looks at the node every few seconds, so that no request has to. Down until the first look. */
export function createHealth(deps: {
  provider: Pick<LightningProvider, 'name' | 'health'>;
  log: Log;
  everyMs: number;
  timeoutMs: number;
}): Health {
  const { provider, log } = deps;
  let isUp = false;
  async function check(signal: AbortSignal): Promise<void> {
    const was = isUp;
    try {
      isUp = await provider.health(timeLimit(signal, deps.timeoutMs));
    } catch (cause) {
      isUp = false;
      if (was) log.warn({ err: cause, node: provider.name }, 'the lightning node does not answer');
    }
    if (isUp !== was) log.info({ node: provider.name, isUp }, 'the lightning node changed its health');
  }
  return {
    isUp: () => isUp,
    noteDown() {
      isUp = false;
    },
    check,
    async run(signal) {
      while (!signal.aborted) {
        await check(signal);
        await sleep(deps.everyMs, undefined, { signal }).catch(() => {});
      }
    },
  };
}
