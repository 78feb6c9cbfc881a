import { getChainId } from 'viem/actions';
import { readFinalNumber } from '../../../chain/index.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { EvmPartDeps } from './context.ts';

/** How one part stands; `detail` is for the operator, and empty when there is nothing to tell. */
export type PartHealth = {
  network: string;
  asset: string;
  /** Whether it is offered: its node answers and it can settle. */
  isUp: boolean;
  detail: string;
};

/** What was seen last; looked at in the background, so that no challenge waits for a node. */
export type HealthWatch = { current(): PartHealth; check(signal: AbortSignal): Promise<PartHealth> };

/** One answer can get lost; a node that fails twice in a row is down. */
const FAILURES_MAX = 2;

/** Up until it was looked at: a gateway that has just started offers what it was configured with. */
export function watchHealth(
  deps: Pick<EvmPartDeps, 'client' | 'mover' | 'log' | 'timeouts'>,
  name: { network: string; asset: string },
): HealthWatch {
  let health: PartHealth = { ...name, isUp: true, detail: 'not looked at yet' };
  let failures = 0;
  return {
    current: () => health,
    async check(signal) {
      const bounded = timeLimit(signal, deps.timeouts.lookMs);
      const before = health;
      try {
        health = { ...name, ...(await look(deps, bounded)) };
        failures = 0;
      } catch (cause) {
        deps.log.warn({ ...name, cause }, 'a network could not be looked at');
        failures += 1;
        const isUp = before.isUp && failures < FAILURES_MAX;
        health = { ...name, isUp, detail: 'its node or its facilitator does not answer' };
      }
      if (health.detail !== before.detail) deps.log.info(health, 'a network changed');
      return health;
    },
  };
}

async function look(
  deps: Pick<EvmPartDeps, 'client' | 'mover'>,
  signal: AbortSignal,
): Promise<{ isUp: boolean; detail: string }> {
  const { client, mover } = deps;
  const [chainId, { canMove, detail }] = await Promise.all([
    getChainId(client.within(signal)),
    mover.checkHealth(signal),
    // Also throws where a node knows no final block and no depth is configured instead.
    readFinalNumber(client, signal),
  ]);
  if (chainId !== client.chainId) return { isUp: false, detail: `its node is on chain ${chainId}` };
  return { isUp: canMove, detail };
}
