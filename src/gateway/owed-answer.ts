import { addMs } from '../core/clock.ts';
import type { Queryable } from '../db/index.ts';
import { type Claim, takeOwedClaim } from '../payments/index.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';

const OWED_FOR_MS = 24 * 60 * 60 * 1000;

/**
 * An earlier payment of this payer for this very request whose answer was never received: whoever signs again
 * is given that one, and does not pay again (MONEY.md, rule 4).
 */
export function takeOwed(
  deps: Pick<GatewayDeps, 'sql' | 'clock' | 'worker'>,
  demand: Demand,
  payer: string,
  queryable: Queryable = deps.sql,
): Promise<Claim | undefined> {
  return takeOwedClaim(queryable, {
    payer,
    requestDigest: demand.requestDigest,
    purpose: demand.purpose,
    since: addMs(deps.clock.now(), -OWED_FOR_MS),
    worker: deps.worker.id,
  });
}
