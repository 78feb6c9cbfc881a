import { ZERO } from '../core/money.ts';
import { Problem } from '../core/problem.ts';
import {
  type Claim,
  type Credential,
  claimIdOf,
  findClaim,
  findUse,
  hashQuoteId,
} from '../payments/index.ts';
import { type Admission, admitCredential, isProof, sameRequest } from './admit-credential.ts';
import { type Asker, answerClaim } from './answer-claim.ts';
import { answerStoredCall, keyClaimKeyOf } from './call-with-key.ts';
import { type Demand, findCredential } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { watchProven } from './guard-claim.ts';
import { letGo } from './let-go.ts';
import { takeOwedAlone } from './owed-answer.ts';
import { type PaidCallAnswer, type PaidCallInput, tellCredentialPaid, tellKeyPaid } from './paid-call.ts';
import { type CallInput, nameCall } from './resolve-sale.ts';
import { digestCall } from './sale.ts';

/** A call that cannot be sold now, and what was thrown for it. */
export type EarlierCall = Omit<PaidCallInput, 'sale'> & { call: CallInput; cause: unknown };
type Unsold = Omit<EarlierCall, 'cause'> & { problem: Problem };

/**
 * What was paid for a call before it could not be sold any more: its tool was paused, or has a new version with
 * other arguments, or the sandbox is down or full. Throws the cause when this request brings no such payment.
 */
export async function answerEarlierCall(
  deps: GatewayDeps,
  { cause, ...asked }: EarlierCall,
  client: () => AbortSignal,
): Promise<PaidCallAnswer> {
  if (!(cause instanceof Problem)) throw cause;
  const answer = await findAnswer(deps, { ...asked, problem: cause }, client);
  if (!answer) throw cause;
  return answer;
}

async function findAnswer(
  deps: GatewayDeps,
  earlier: Unsold,
  client: () => AbortSignal,
): Promise<PaidCallAnswer | undefined> {
  const { carried, principal, idempotencyKey } = earlier;
  const credential = findCredential(deps, carried);
  if (credential) return answerCredential(deps, earlier, credential, client());
  if (!principal || idempotencyKey === undefined) return undefined;
  const claim = await findClaim(deps.sql, claimIdOf(keyClaimKeyOf(principal, idempotencyKey)));
  if (!claim) return undefined;
  const demand = await toUnsoldDemand(deps, earlier);
  return tellKeyPaid(deps, earlier, await answerStoredCall(deps, demand, claim, principal));
}

async function answerCredential(
  deps: GatewayDeps,
  earlier: Unsold,
  credential: Credential,
  client: AbortSignal,
): Promise<PaidCallAnswer | undefined> {
  const demand = await toUnsoldDemand(deps, earlier);
  try {
    const bound = AbortSignal.timeout(deps.settings.settleTimeoutMs);
    const admission = await admitCredential(deps, demand, credential, bound);
    const paid = await findPaid(deps, demand, { earlier, admission });
    if (!paid) return undefined;
    const { claim, asker } = paid;
    const answer = async () => {
      const told = await answerClaim(deps, demand, claim, { ...asker, wire: credential.wire });
      return told.purpose === 'call' ? tellCredentialPaid(deps, earlier.principal, told) : undefined;
    };
    return await watchProven(deps, { claim, asker, client }, answer);
  } catch (cause) {
    // Nothing was paid, and for what cannot be sold no payment is asked.
    if (cause instanceof Problem && cause.type === 'payment-required') return undefined;
    throw cause;
  }
}

/**
 * The claim of the payment, or of an earlier one of this payer for this request that is owed its answer. Money that
 * has arrived and finds its call gone becomes credit here and now.
 */
async function findPaid(
  deps: GatewayDeps,
  demand: Demand,
  { earlier, admission }: { earlier: Unsold; admission: Admission },
): Promise<{ claim: Claim; asker: Asker } | undefined> {
  if (admission.kind === 'existing') {
    return { claim: admission.claim, asker: { isProven: admission.isProven, isOwed: false } };
  }
  if (admission.kind === 'owed') return { claim: admission.claim, asker: { isProven: true, isOwed: true } };
  const { authorization, credential, quote } = admission;
  if (authorization.state === 'authorised') {
    const quoteHash = credential.quoteToken === undefined ? null : hashQuoteId(quote);
    const owed = await takeOwedAlone(deps, demand, { authorization, quoteHash, wire: credential.wire });
    if (owed?.kind === 'owed') return { claim: owed.claim, asker: { isProven: true, isOwed: true } };
    // A copy of this request may have been given it an instant ago.
    const used = await findUse(deps.sql, authorization.claimKey);
    return (
      used && {
        claim: sameRequest(used, demand),
        asker: { isProven: isProof(used, { credential, quote }), isOwed: false },
      }
    );
  }
  if (authorization.state !== 'paid' || credential.quoteToken === undefined) return undefined;
  const failure = { problem: earlier.problem.type, detail: earlier.problem.message };
  await letGo(deps, { authorization, quoteHash: hashQuoteId(quote), demand: quote, failure });
  const claim = await findClaim(deps.sql, claimIdOf(authorization.claimKey));
  return claim && { claim: sameRequest(claim, demand), asker: { isProven: true, isOwed: false } };
}

/** A demand that nobody can pay: it names the request. */
async function toUnsoldDemand(deps: GatewayDeps, { call, carried }: Unsold): Promise<Demand> {
  const { request, resource } = await nameCall(deps, call);
  const order = { kind: 'call', request, version: request.version ?? '' } as const;
  return {
    ...{ purpose: 'call', amount: ZERO, requestDigest: digestCall(request), resource, runTimeoutMs: 0 },
    ...{ carried, order },
  };
}
