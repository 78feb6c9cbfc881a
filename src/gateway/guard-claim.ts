import { setTimeout as sleep } from 'node:timers/promises';
import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { type Claim, markAnswer } from '../payments/index.ts';
import { type Asker, isLastWord, outcomeUnknown, toFailure } from './answer-claim.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { abandon } from './lost-opening.ts';
import { outlast } from './outlast.ts';

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
    const abandoned = outlast(deps, claimId, () => abandon(deps, { id: claimId }));
    const claim = await soon(abandoned);
    throw claim?.state === 'failed'
      ? await toFailure(deps, demand, claim, { isProven: true })
      : outcomeUnknown({ id: claimId }, cause);
  }
}

const SOON_MS = 6_000;

/** What is noted once the database is back; whoever asked does not wait for longer than this. */
function soon<T>(noted: Promise<T>): Promise<T | undefined> {
  return Promise.race([noted, sleep(SOON_MS, undefined, { ref: false })]);
}

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
  const lose = () => noteAnswer(deps, id, 'lost');
  client.addEventListener('abort', lose, { once: true });
  if (client.aborted) await soon(lose());
  try {
    return await answer();
  } catch (cause) {
    if (!(cause instanceof Problem)) await soon(lose());
    else if (!client.aborted && isLastWord(cause)) await soon(noteAnswer(deps, id, 'answered'));
    throw cause;
  }
}

/** The same for a claim that is there already. What a stranger is told, or does, is no matter of who paid. */
export function watchProven<T>(
  deps: GatewayDeps,
  { claim, asker, client }: { claim: Claim; asker: Pick<Asker, 'isProven'>; client: AbortSignal },
  answer: () => Promise<T>,
): Promise<T> {
  return asker.isProven ? watchClient(deps, { id: claim.askedBy, client }, answer) : answer();
}

/** Tells who paid what its claim came to. Where something of ours breaks, the answer is owed to whoever asks again. */
export async function guardAnswer<T>(deps: GatewayDeps, claim: Claim, tell: () => Promise<T>): Promise<T> {
  try {
    return await tell();
  } catch (cause) {
    if (cause instanceof Problem) throw cause;
    deps.log.error({ err: cause, claimId: claim.id }, 'an answer broke');
    await soon(noteAnswer(deps, claim.askedBy, 'lost'));
    throw outcomeUnknown(claim, cause);
  }
}

/** Notes whether the answer reached its client, however long the database is away. */
export async function noteAnswer(
  deps: Pick<GatewayDeps, 'sql' | 'log'>,
  askedBy: Uuid,
  state: 'answered' | 'lost',
): Promise<void> {
  await outlast(deps, askedBy, () => markAnswer(deps.sql, askedBy, state));
}
