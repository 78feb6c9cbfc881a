import { setTimeout as sleep } from 'node:timers/promises';
import { addMs } from '../core/clock.ts';
import type { Queryable } from '../db/index.ts';
import { type Claim, isAnswerInDoubt, takeOwedClaim, type Unused } from '../payments/index.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';

/** Gateways are heard of every two seconds. */
const SILENCE_MS = 5_000;
/** Longer than a silent gateway goes on being believed alive, and its claims taking to be adopted. */
const DOUBT_MS_MAX = 20_000;
const POLL_MS = 250;

/**
 * Waits until it is known what became of a gateway that was at an earlier payment of this payer for this very
 * request: when it is gone its answer is owed, and to sign again must not pay again.
 */
export async function awaitSilentGateways(
  deps: Pick<GatewayDeps, 'sql' | 'clock'>,
  demand: Demand,
  payer: string,
): Promise<void> {
  const { requestDigest, purpose } = demand;
  const since = addMs(deps.clock.now(), -OWED_FOR_MS);
  const deadline = Date.now() + DOUBT_MS_MAX;
  const earlier = { payer, requestDigest, purpose, since, silenceMs: SILENCE_MS };
  while (Date.now() < deadline && (await isAnswerInDoubt(deps.sql, earlier))) await sleep(POLL_MS);
}

const OWED_FOR_MS = 24 * 60 * 60 * 1000;

/**
 * An earlier payment of this payer for this very request whose answer was never received: whoever signs again
 * is given that one, and does not pay again (MONEY.md, rule 4). The new credential is attached to it for good.
 */
export function takeOwed(
  deps: Pick<GatewayDeps, 'sql' | 'clock' | 'worker'>,
  demand: Demand,
  credential: Unused,
  queryable: Queryable = deps.sql,
): Promise<Claim | undefined> {
  const { requestDigest, purpose } = demand;
  const since = addMs(deps.clock.now(), -OWED_FOR_MS);
  return takeOwedClaim(queryable, credential, { requestDigest, purpose, since, worker: deps.worker.id });
}
