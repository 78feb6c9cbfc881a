import { setTimeout as sleep } from 'node:timers/promises';
import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { markAnswer, markFailureTold } from '../payments/index.ts';
import { outcomeUnknown, toFailure } from './answer-claim.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { abandon, giveUp } from './lost-opening.ts';

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
    const abandoned = giveUp(deps, claimId, () => abandon(deps, claimId));
    const claim = await Promise.race([abandoned, sleep(TOLD_MS, undefined, { ref: false })]);
    throw claim?.state === 'failed'
      ? await toFailure(deps, demand, claim, { isProven: true })
      : outcomeUnknown({ id: claimId }, cause);
  }
}

/** Its caller does not wait for longer. */
const TOLD_MS = 6_000;

/**
 * Answers a claim for as long as its client waits. Once the client is gone, or something of ours broke, the
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
