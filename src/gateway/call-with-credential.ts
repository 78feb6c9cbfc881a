import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { type Carried, type Claim, type Credential, claimIdOf, findUse } from '../payments/index.ts';
import { type Admission, admitCredential, isProof, sameRequest } from './admit-credential.ts';
import { type Asker, answerClaim, doubtWhileLost } from './answer-claim.ts';
import { type Demand, demandPayment } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { guardClaim, watchClient, watchProven } from './guard-claim.ts';
import { openCallClaim, toPayment } from './open-claim.ts';
import { type CredentialAnswer, runThenSettle, settleThenRun } from './run-claim.ts';
import { type Sale, toDemand } from './sale.ts';

/**
 * One call paid by a credential, in three commits (MONEY.md, rule 1): claim and hold; outcome and intent;
 * funds, capture and receipt. `client` aborts when nobody waits for the answer any more; the call goes on.
 */
export async function callWithCredential(
  deps: GatewayDeps,
  { sale, carried }: { sale: Sale; carried: Carried },
  credential: Credential,
  client: AbortSignal,
): Promise<CredentialAnswer> {
  const demand = toDemand(sale, carried);
  const bound = AbortSignal.timeout(deps.settings.settleTimeoutMs);
  const admission = await admitCredential(deps, demand, credential, bound);
  const id = 'claim' in admission ? admission.claim.id : claimIdOf(admission.authorization.claimKey);
  return doubtWhileLost(id, () =>
    callAdmitted(deps, { sale, demand, admission, wire: credential.wire, client }),
  );
}

type Admitted = {
  sale: Sale;
  demand: Demand;
  admission: Admission;
  wire: Credential['wire'];
  client: AbortSignal;
};

async function callAdmitted(
  deps: GatewayDeps,
  { sale, demand, admission, wire, client }: Admitted,
): Promise<CredentialAnswer> {
  const watch = (id: Uuid, answer: () => Promise<CredentialAnswer>) =>
    watchClient(deps, { id, client }, answer);
  const guard = (id: Uuid, work: () => Promise<CredentialAnswer>) =>
    watch(id, () => guardClaim(deps, demand, id, work));
  const answer = (claim: Claim, asker: Omit<Asker, 'wire'>) =>
    watchProven(deps, { claim, asker, client }, () => answerCall(deps, demand, claim, { ...asker, wire }));
  if (admission.kind === 'existing') {
    return answer(admission.claim, { isProven: admission.isProven, isOwed: false });
  }
  if (admission.kind === 'owed') return answer(admission.claim, { isProven: true, isOwed: true });
  const opened = await openCallClaim(deps, sale, demand, toPayment(admission));
  switch (opened.kind) {
    case 'owed':
      return answer(opened.claim, { isProven: true, isOwed: true });
    case 'taken': {
      const used = await findUse(deps.sql, admission.authorization.claimKey);
      invariant(used, `claim ${opened.claimId} is missing`);
      const claim = sameRequest(used, demand);
      return answer(claim, { isProven: isProof(claim, admission), isOwed: false });
    }
    case 'insufficient-funds':
      throw await demandPayment(deps, demand, {
        detail: 'The payer does not own what this call costs on top of what it owes.',
      });
    case 'after-run':
      return guard(opened.claimId, () =>
        runThenSettle(deps, { sale, demand, rail: admission.rail }, opened.claimId),
      );
    case 'before-run':
      return guard(opened.claimId, () => settleThenRun(deps, { sale, demand }, opened.claimId));
    default:
      throw opened satisfies never;
  }
}

async function answerCall(
  deps: GatewayDeps,
  demand: Demand,
  claim: Claim,
  asker: Asker,
): Promise<CredentialAnswer> {
  const answer = await answerClaim(deps, demand, claim, asker);
  invariant(answer.purpose === 'call', `claim ${claim.id} is not a call`);
  return answer;
}
