import { setTimeout as sleep } from 'node:timers/promises';
import { isDatabaseLost } from '../core/database-lost.ts';
import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import { type Claim, findClaim, markAnswer, type WireName } from '../payments/index.ts';
import { readContext } from './claim-context.ts';
import { type Demand, demandPayment } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { findIssuedKey } from './issued-key.ts';

/** Who asks for the answer of a claim that is there already. */
export type Asker = {
  /** Showed the quote, the idempotency key or a fresh signature: whoever paid, and nobody else. */
  isProven: boolean;
  /** This request took over an answer that was owed, so nobody else waits for it. */
  isOwed: boolean;
  /** What the receipt is spelled for, whatever wire the claim was made by: one that came by itself has none. */
  wire?: WireName;
};

/** The stored answer of a claim, in the words of its purpose. */
export type ClaimAnswer =
  | { purpose: 'call'; claim: Claim; result: unknown }
  | { purpose: 'signup'; claim: Claim; keyText: string; scopes: readonly string[] }
  | { purpose: 'topup'; claim: Claim };

const POLL_MS = 50;

/**
 * Answers a payment that was used before: the same stored answer, the same failure or what to do after it, 409 while
 * another request works on it, 503 while nobody knows. Never a fresh challenge once money may have moved.
 */
export async function answerClaim(
  deps: GatewayDeps,
  demand: Demand,
  first: Claim,
  asker: Asker,
): Promise<ClaimAnswer> {
  const deadline = Date.now() + deps.settings.outcomeWaitMs;
  let claim = { ...first, wire: asker.wire ?? first.wire };
  for (;;) {
    if (claim.state === 'delivered') return serve(deps, claim, asker);
    if (claim.state === 'failed') throw await toStoredFailure(deps, demand, claim, asker);
    if (!asker.isOwed && claim.answerState === 'waiting') throw inFlight();
    if (Date.now() > deadline) break;
    await sleep(POLL_MS);
    const current = await findClaim(deps.sql, claim.id);
    if (!current) throw withdrawn();
    claim = { ...current, askedBy: first.askedBy, wire: asker.wire ?? first.wire ?? current.wire };
  }
  if (asker.isOwed) await markAnswer(deps.sql, claim.askedBy, 'lost');
  throw outcomeUnknown(claim);
}

/** What a payer is told while its money may or may not have moved. */
export function outcomeUnknown(claim: Pick<Claim, 'id'>, cause?: unknown): Problem {
  return new Problem('outcome-unknown', {
    detail:
      'The payment is not settled yet, and the answer is kept for you. Send the same request with the same payment again; do not pay anew.',
    cause,
    retryAfterSeconds: 5,
    members: { receipt_id: claim.id },
  });
}

/** Does what a claim may stand for by now: without a database nobody knows whether it does, or what it came to. */
export async function doubtWhileLost<T>(claimId: Uuid, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    // A refusal knows what it says, whatever it was caused by.
    const isInDoubt = !(cause instanceof Problem) && isDatabaseLost(cause);
    throw isInDoubt ? outcomeUnknown({ id: claimId }, cause) : cause;
  }
}

export function inFlight(): Problem {
  return new Problem('in-flight', {
    detail:
      'A request with this payment is still running. Wait for its answer, or send the same again shortly.',
    retryAfterSeconds: 1,
  });
}

/** Whoever had the claim found no place to run in, and took it back: as if it had never been asked for. */
export function withdrawn(): Problem {
  return new Problem('unavailable', {
    detail: 'The call found no place to run in. Nothing was taken; send it again shortly.',
    isUncharged: true,
  });
}

async function serve(deps: GatewayDeps, claim: Claim, asker: Asker): Promise<ClaimAnswer> {
  if (!asker.isProven) {
    throw new Problem('credential-used', {
      detail: 'This payment was already used. Its answer is given only to who received our challenge for it.',
      members: { receipt_id: claim.id },
    });
  }
  const context = readContext(claim);
  switch (context.purpose) {
    case 'call': {
      const body = await deps.answers.load(claim.id);
      if (body === undefined) {
        const detail = 'The answer to this paid call is no longer stored; its receipt is.';
        throw toLastWord(new Problem('answer-expired', { detail, members: { receipt_id: claim.id } }));
      }
      return { purpose: 'call', claim, result: JSON.parse(body) };
    }
    case 'signup': {
      const keyText = await findIssuedKey(deps, claim, 'signup');
      if (keyText !== undefined) return { purpose: 'signup', claim, keyText, scopes: context.scopes };
      throw toLastWord(new Problem('answer-expired', { detail: 'The key this payment bought was revoked.' }));
    }
    case 'topup':
      return { purpose: 'topup', claim };
    case 'credit':
      throw new Error(`claim ${claim.id} bought nothing and cannot be delivered`);
    default:
      throw context satisfies never;
  }
}

/**
 * The failure of an earlier request. One for want of something said "not now" at the time, and whoever repeats it would
 * be told so for ever, because a claim is used once. It is told what to do instead; and to pay anew only by a request
 * that brought its payment, not by one that asks what became of it.
 */
async function toStoredFailure(
  deps: GatewayDeps,
  demand: Demand,
  claim: Claim,
  asker: Asker,
): Promise<Problem> {
  const { failure, reference, rail, quoteHash } = claim;
  if (failure?.problem !== 'unavailable') return toFailure(deps, demand, claim, asker);
  const isFree = rail === null || reference === null;
  const free = rail === null ? NAME_ANEW : PAY_ANEW;
  const detail = `${endSentence(failure.detail)} ${isFree ? free : CREDIT}`;
  const isForSale = demand.amount > 0n;
  const isPayment = asker.isProven || quoteHash === null;
  const paysAnew = isFree && rail !== null && isForSale && isPayment;
  const problem = paysAnew ? 'payment-required' : 'cut-off';
  return toFailure(deps, demand, { ...claim, failure: { problem, detail } }, asker);
}

const PAY_ANEW = 'The call is free and not run again: make a new payment to call again.';
const NAME_ANEW = 'The call is free and not run again: choose a new Idempotency-Key to call again.';
const CREDIT = 'What was paid for it is kept on a refund key, which is given to whoever paid.';

/** What a publisher or an operator wrote may have no end. */
function endSentence(text: string): string {
  return text.endsWith('.') ? text : `${text}.`;
}

/**
 * The failure a claim ended with. Money that arrived all the same is opened by the refund key; where surely
 * nothing moved because the payment was no good, another one may be made.
 */
export async function toFailure(
  deps: GatewayDeps,
  demand: Demand,
  claim: Claim,
  asker: Pick<Asker, 'isProven' | 'wire'>,
): Promise<Problem> {
  invariant(claim.failure, `claim ${claim.id} failed without a reason`);
  if (claim.failure.problem === 'payment-required') {
    const { wire } = asker;
    const demanded = await demandPayment(deps, demand, { detail: claim.failure.detail, wire });
    return asker.isProven ? toLastWord(demanded) : demanded;
  }
  const hasCredit = claim.reference !== null && claim.rail !== null;
  const refundKey = hasCredit && asker.isProven ? await findIssuedKey(deps, claim, 'refund') : undefined;
  const failure = new Problem(claim.failure.problem, {
    detail: claim.failure.detail,
    isUncharged: !hasCredit,
    members:
      refundKey === undefined
        ? {}
        : {
            refund_key: refundKey,
            refund_mcents: Number(claim.amount),
            note: 'the payment is kept as credit on the refund key',
          },
  });
  return asker.isProven ? toLastWord(failure) : failure;
}

const lastWords = new WeakSet<Problem>();

function toLastWord(problem: Problem): Problem {
  lastWords.add(problem);
  return problem;
}

/** Whether it tells who paid what became of their claim, for good: nothing more is owed to them then. */
export function isLastWord(problem: Problem): boolean {
  return lastWords.has(problem);
}
