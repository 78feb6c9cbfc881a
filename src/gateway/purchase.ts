import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import type { Problem } from '../core/problem.ts';
import type { Tx } from '../db/index.ts';
import { type Claim, type Credential, claimIdOf, findUse, markAnswer } from '../payments/index.ts';
import { type Admission, admitCredential, isProof, sameRequest } from './admit-credential.ts';
import {
  type Asker,
  answerClaim,
  type ClaimAnswer,
  doubtWhileLost,
  outcomeUnknown,
  toFailure,
} from './answer-claim.ts';
import type { ClaimContext } from './claim-context.ts';
import { type Demand, demandPayment } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { guardClaim, watchClient, watchProven } from './guard-claim.ts';
import { openPurchaseClaim, toPayment } from './open-claim.ts';
import { applySettlement, settleOnRail } from './settle-claim.ts';

/** What a purchase opens or fills, decided by the payment's own id so that a retry decides the same. */
export type Purchase = {
  accountId: Uuid;
  payeeId: Uuid;
  context: ClaimContext;
  /** Throws when no more of these are sold now. Asked in the commit of a new claim, and for no retry. */
  limit?(tx: Tx): Promise<void>;
};

/**
 * Buys something that needs no run: a key, or more balance. The money is here before anything is given,
 * and whoever repeats the payment with its challenge is given the same again.
 */
export async function purchase(
  deps: GatewayDeps,
  demand: Demand,
  credential: Credential,
  { decide, client }: Buying,
): Promise<ClaimAnswer> {
  const bound = AbortSignal.timeout(deps.settings.settleTimeoutMs);
  const admission = await admitCredential(deps, demand, credential, bound);
  const id = 'claim' in admission ? admission.claim.id : claimIdOf(admission.authorization.claimKey);
  return doubtWhileLost(id, () =>
    purchaseAdmitted(deps, demand, { admission, wire: credential.wire, decide, client }),
  );
}

/** `client` aborts when nobody waits for the answer any more; the purchase goes on. */
export type Buying = { decide: (claimKey: string) => Purchase; client: AbortSignal };
type Admitted = Buying & { admission: Admission; wire: Credential['wire'] };

async function purchaseAdmitted(
  deps: GatewayDeps,
  demand: Demand,
  { admission, wire, decide, client }: Admitted,
): Promise<ClaimAnswer> {
  const answer = (claim: Claim, asker: Omit<Asker, 'wire'>) =>
    watchProven(deps, { claim, asker, client }, () => answerClaim(deps, demand, claim, { ...asker, wire }));
  if (admission.kind === 'existing') {
    return answer(admission.claim, { isProven: admission.isProven, isOwed: false });
  }
  if (admission.kind === 'owed') return answer(admission.claim, { isProven: true, isOwed: true });
  const purchased = decide(admission.authorization.claimKey);
  const opened = await openPurchaseClaim(deps, demand, toPayment(admission), purchased);
  if (opened.kind === 'owed') return answer(opened.claim, { isProven: true, isOwed: true });
  if (opened.kind === 'insufficient-funds') {
    const detail = 'The payer does not own what this costs on top of what it owes.';
    throw await demandPayment(deps, demand, { detail });
  }
  const claim = await findUse(deps.sql, admission.authorization.claimKey);
  invariant(claim, 'a purchase has a claim');
  if (opened.kind === 'taken') {
    return answer(sameRequest(claim, demand), { isProven: isProof(claim, admission), isOwed: false });
  }
  return watchClient(deps, { id: claim.id, client }, () => settlePurchase(deps, demand, claim));
}

/** Lets the money of a purchase in and gives what it buys. */
export function settlePurchase(deps: GatewayDeps, demand: Demand, claim: Claim): Promise<ClaimAnswer> {
  return guardClaim(deps, demand, claim.id, async () => {
    const settlement = await settleOnRail(deps, claim);
    const settled = await applySettlement(deps, claim.id, settlement, { runsNext: false });
    if (settled.state !== 'delivered') throw await explain(deps, demand, settled, settlement);
    return answerClaim(deps, demand, settled, { isProven: true, isOwed: true });
  });
}

/** What a payer hears when a settlement did not end as it should: 402 only when surely nothing moved. */
export async function explain(
  deps: GatewayDeps,
  demand: Demand,
  claim: Claim,
  settlement: { kind: string; cause?: unknown },
): Promise<Problem> {
  if (claim.state !== 'failed') {
    await markAnswer(deps.sql, claim.id, 'lost');
    return outcomeUnknown(claim, settlement.cause);
  }
  return toFailure(deps, demand, claim, { isProven: true });
}
