import { isDatabaseLost } from '../core/database-lost.ts';
import { newUuid, type Uuid } from '../core/ids.ts';
import { type Tx, withTransaction } from '../db/index.ts';
import {
  awaitClaim,
  type Claim,
  claimIdOf,
  deferSettlement,
  findClaim,
  markAnswer,
} from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';
import { outlast } from './outlast.ts';
import { releaseRun } from './run-sale.ts';
import { cancelOnRail, INTERRUPTED } from './settle-claim.ts';

/** Each opening of a claim has a name of its own, which its claim's context says. */
export type Opening = { opening: Uuid };

/**
 * Opens a claim in a transaction. Where nobody hears whether it was opened, it may stand there in nobody's hands: it is
 * given up, so that whoever asks again is not told to wait for a run that nobody makes, or charged for what is settled
 * without it.
 */
export async function openHeard<T>(
  deps: GatewayDeps,
  claimKey: string,
  open: (tx: Tx, opening: Opening) => Promise<T>,
): Promise<T> {
  const opening = newUuid();
  let isCommitting = false;
  const work = async (tx: Tx) => {
    isCommitting = false;
    const opened = await open(tx, { opening });
    isCommitting = true;
    return opened;
  };
  try {
    return await withTransaction(deps.sql, work);
  } catch (cause) {
    if (isCommitting && isDatabaseLost(cause)) {
      void outlast(deps, claimIdOf(claimKey), () => abandonOpening(deps, claimKey, opening));
    }
    throw cause;
  }
}

async function abandonOpening(
  deps: GatewayDeps,
  claimKey: string,
  opening: Uuid,
): Promise<Claim | undefined> {
  // Its COMMIT may be on its way still: a server that stood still does what it was told before.
  const claim = await awaitClaim(deps.sql, claimKey);
  // It was not opened, or by another request with the same payment, which is at it.
  return claim?.context.opening === opening ? abandon(deps, claim) : undefined;
}

/**
 * Releases a run of ours, leaves a settlement to the reconciler, and owes the answer to whoever asks again. Answers what
 * the claim is then; none when it was withdrawn before the answer to that got lost.
 */
export async function abandon(deps: GatewayDeps, { id }: Pick<Claim, 'id'>): Promise<Claim | undefined> {
  const claim = await findClaim(deps.sql, id);
  // Somebody else's by now: it was taken over, or withdrawn and opened anew.
  if (claim?.worker !== deps.worker.id) return claim;
  await markAnswer(deps.sql, id, 'lost');
  await deferSettlement(deps.sql, id, 0);
  const released = await releaseRun(deps, id, INTERRUPTED);
  // Whoever waits is told at once; where the rail does not answer now, a job asks it later.
  void cancelOnRail(deps, released);
  return released;
}
