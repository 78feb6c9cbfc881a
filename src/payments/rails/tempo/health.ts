import { getChainId } from 'viem/actions';
import { readFinalNumber } from '../../../chain/index.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { TempoRailDeps } from './context.ts';

/** How the node was seen last; `detail` is for the operator, and empty when there is nothing to tell. */
export type TempoHealth = { isUp: boolean; detail: string };

/** Looked at in the background, so that no challenge waits for a node. */
export type TempoHealthWatch = {
  current(): TempoHealth;
  check(signal: AbortSignal): Promise<TempoHealth>;
};

/** One answer can get lost; a node that fails twice in a row is down. */
const FAILURES_MAX = 2;

/** Up until it was looked at: a gateway that has just started offers what it was configured with. */
export function watchHealth(deps: Pick<TempoRailDeps, 'client' | 'log' | 'timeouts'>): TempoHealthWatch {
  let health: TempoHealth = { isUp: true, detail: '' };
  let failures = 0;
  return {
    current: () => health,
    async check(signal) {
      const bounded = timeLimit(signal, deps.timeouts.lookMs);
      const before = health;
      try {
        health = await look(deps, bounded);
        failures = 0;
      } catch (cause) {
        deps.log.warn({ cause }, 'tempo could not be looked at');
        failures += 1;
        const isUp = before.isUp && failures < FAILURES_MAX;
        health = { isUp, detail: 'its node does not answer' };
      }
      if (health.isUp !== before.isUp) deps.log.info(health, 'tempo changed its health');
      return health;
    },
  };
}

async function look({ client }: Pick<TempoRailDeps, 'client'>, signal: AbortSignal): Promise<TempoHealth> {
  const [chainId] = await Promise.all([
    getChainId(client.within(signal)),
    // What is final decides what can be mined no more: a node that does not say cannot be settled with.
    readFinalNumber(client, signal),
  ]);
  if (chainId === client.chainId) return { isUp: true, detail: '' };
  return { isUp: false, detail: `its node is on chain ${chainId}` };
}
