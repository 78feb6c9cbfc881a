import { setTimeout as sleep } from 'node:timers/promises';
import { isDatabaseLost } from '../core/database-lost.ts';
import { newUuid, type Uuid } from '../core/ids.ts';
import { type Claim, deferSettlement, findClaim, markAnswer } from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';
import { releaseRun } from './run-sale.ts';
import { INTERRUPTED } from './settle-claim.ts';

/** Each opening of a claim has a name of its own, which its claim's context says. */
export type Opening = { opening: Uuid };

/**
 * Opens a claim. Where nobody hears whether it was opened, it may stand there in nobody's hands: it is given up, so
 * that whoever asks again is not told to wait for a run that nobody makes, or charged for what is settled without it.
 */
export async function openHeard<T>(
  deps: GatewayDeps,
  claimId: Uuid,
  open: (opening: Opening) => Promise<T>,
): Promise<T> {
  const opening = newUuid();
  try {
    return await open({ opening });
  } catch (cause) {
    if (isDatabaseLost(cause)) void giveUp(deps, claimId, async () => abandonOpening(deps, claimId, opening));
    throw cause;
  }
}

async function abandonOpening(deps: GatewayDeps, claimId: Uuid, opening: Uuid): Promise<Claim | undefined> {
  const claim = await findClaim(deps.sql, claimId);
  // It was not opened, or by another request with the same payment, which is at it.
  return claim?.context.opening === opening ? abandon(deps, claimId) : undefined;
}

/**
 * Releases a run, leaves a settlement to the reconciler, and owes the answer to whoever asks again. Answers what the
 * claim is then; none when it was withdrawn before the answer to that got lost.
 */
export async function abandon(deps: GatewayDeps, claimId: Uuid): Promise<Claim | undefined> {
  await markAnswer(deps.sql, claimId, 'lost');
  if (!(await findClaim(deps.sql, claimId))) return undefined;
  await deferSettlement(deps.sql, claimId, 0);
  return releaseRun(deps, claimId, INTERRUPTED);
}

const OUTLAST_MS = 60_000;
const OUTLAST_PAUSE_MS = 500;

/** Outlasts a database that takes long to come up again: a run that nobody releases is open for ten minutes. */
export async function giveUp<T>(
  deps: Pick<GatewayDeps, 'log'>,
  claimId: Uuid,
  work: () => Promise<T>,
): Promise<T | undefined> {
  const deadline = performance.now() + OUTLAST_MS;
  for (;;) {
    try {
      return await work();
    } catch (err) {
      if (performance.now() < deadline && isDatabaseLost(err)) await sleep(OUTLAST_PAUSE_MS);
      else {
        deps.log.error({ err, claimId }, 'a claim could not be given up');
        return undefined;
      }
    }
  }
}
