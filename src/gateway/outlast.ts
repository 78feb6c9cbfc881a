import { setTimeout as sleep } from 'node:timers/promises';
import { isDatabaseLost } from '../core/database-lost.ts';
import type { Uuid } from '../core/ids.ts';
import type { GatewayDeps } from './deps.ts';

const OUTLAST_MS = 60_000;
const PAUSE_MS = 500;

/**
 * Does what has to be done about a claim, as often as it takes a database to come up again: a run that nobody releases
 * is open for ten minutes. Never rejects; undefined when it could not be done.
 */
export async function outlast<T>(
  deps: Pick<GatewayDeps, 'log'>,
  claimId: Uuid,
  work: () => Promise<T>,
): Promise<T | undefined> {
  const deadline = performance.now() + OUTLAST_MS;
  for (;;) {
    try {
      return await work();
    } catch (err) {
      if (performance.now() > deadline || !isDatabaseLost(err) || isEnded(err)) {
        deps.log.error({ err, claimId }, 'what became of a claim could not be noted');
        return undefined;
      }
      await sleep(PAUSE_MS);
    }
  }
}

/** Our own pool was closed: this process ends, and another one takes over what it had. */
function isEnded(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'CONNECTION_ENDED';
}
