import { setTimeout as sleep } from 'node:timers/promises';
import { isDatabaseLost } from '../core/database-lost.ts';
import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { type Claim, deferSettlement, findClaim, markAnswer, markFailureTold } from '../payments/index.ts';
import { doubtWhileLost, outcomeUnknown, toFailure } from './answer-claim.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { releaseRun } from './run-sale.ts';
import { INTERRUPTED } from './settle-claim.ts';

/**
 * Does what a claim of this request is for. Where something of ours breaks on the way, a run is released, a settlement is
 * left to the reconciler, and the answer is owed to whoever asks again.
 */
export async function guardClaim<T>(
  deps: GatewayDeps,
  demand: Demand,
  claimId: Uuid,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof Problem) throw cause;
    deps.log.error({ err: cause, claimId }, 'the work of a claim broke');
    const abandoning = outlast(() => abandon(deps, claimId));
    abandoning.catch((err: unknown) => deps.log.error({ err, claimId }, 'a claim could not be released'));
    const claim = await doubtWhileLost(claimId, () =>
      Promise.race([abandoning, sleep(TOLD_MS, undefined, { ref: false })]),
    );
    throw claim?.state === 'failed'
      ? await toFailure(deps, demand, claim, { isProven: true })
      : outcomeUnknown({ id: claimId }, cause);
  }
}

/** Answers what the claim is then; none when it was withdrawn before the answer to that got lost. */
async function abandon(deps: GatewayDeps, claimId: Uuid): Promise<Claim | undefined> {
  await markAnswer(deps.sql, claimId, 'lost');
  if (!(await findClaim(deps.sql, claimId))) return undefined;
  await deferSettlement(deps.sql, claimId, 0);
  return releaseRun(deps, claimId, INTERRUPTED);
}

/** Its caller does not wait for longer. */
const TOLD_MS = 6_000;
const OUTLAST_MS = 60_000;
const OUTLAST_PAUSE_MS = 500;

/** Longer than a database takes to come up again: a run that nobody releases is open for ten minutes. */
async function outlast<T>(work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + OUTLAST_MS;
  for (;;) {
    try {
      return await work();
    } catch (cause) {
      if (performance.now() > deadline || !isDatabaseLost(cause)) throw cause;
      await sleep(OUTLAST_PAUSE_MS);
    }
  }
}

/**
 * Answers a call for as long as its client waits. Once the client is gone, or something of ours broke, the
 * answer is owed to the payer's next try.
 */
export async function watchClient<T>(
  deps: GatewayDeps,
  claim: { id: Uuid; client: AbortSignal },
  answer: () => Promise<T>,
): Promise<T> {
  const { id, client } = claim;
  const lose = () => note(deps, id, markAnswer(deps.sql, id, 'lost'));
  client.addEventListener('abort', lose, { once: true });
  if (client.aborted) await lose();
  try {
    return await answer();
  } catch (cause) {
    if (!(cause instanceof Problem)) await lose();
    else if (!client.aborted) await note(deps, id, markFailureTold(deps.sql, id));
    throw cause;
  }
}

/** The call itself is not about this: what could not be noted is owed once more than it had to be. */
async function note(deps: GatewayDeps, claimId: Uuid, noting: Promise<void>): Promise<void> {
  await noting.catch((cause: unknown) => {
    deps.log.warn({ claimId, err: cause }, 'could not note what became of an answer');
  });
}
