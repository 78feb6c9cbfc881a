import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import {
  type Authorization,
  type Claim,
  type Credential,
  claimIdOf,
  type Failure,
  findClaim,
  findUse,
  hashQuoteId,
  isPaymentProof,
  type Quote,
  type QuoteOpening,
  type Rail,
  type RefusalCode,
  toIntent,
  type Verification,
} from '../payments/index.ts';
import { creditStray, STRAY, type Stray } from './credit-stray.ts';
import { type Demand, demandPayment, railOf } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { letGo, UNKNOWN_REQUEST } from './let-go.ts';
import { limitPayer } from './limit-payer.ts';
import { awaitDoubtful, takeOwedAlone } from './owed-answer.ts';

export type Admission =
  /** The payment was used before. `isProven`: whoever shows it received our challenge for it. */
  | { kind: 'existing'; claim: Claim; isProven: boolean }
  /** It cannot pay, and shows that its payer asks: an earlier payment is still owed its answer. */
  | { kind: 'owed'; claim: Claim }
  | { kind: 'new'; rail: Rail; authorization: Authorization; quote: Quote; credential: Credential };

/**
 * Finds out what a credential is: one that was used already, or a new one that verifies. Changes nothing,
 * except that money which reached us by itself is credited to its payer. Throws the 402, 409 or 503.
 */
export async function admitCredential(
  deps: GatewayDeps,
  demand: Demand,
  credential: Credential,
  signal: AbortSignal,
): Promise<Admission> {
  const { wire } = credential;
  const refuse = async (detail: string, code?: RefusalCode) =>
    demandPayment(deps, demand, { detail, code, wire });
  const rail = railOf(deps, credential);
  if (!rail) throw await refuse('This gateway does not take payments of that kind.');
  const { claimKey } = rail.identify(credential.form);
  const opening = credential.quoteToken === undefined ? undefined : deps.quotes.open(credential.quoteToken);
  const claim = await findUse(deps.sql, claimKey);
  if (claim) return toExisting(claim, demand, credential, opening);
  const admitted = admitQuote(deps, demand, credential, opening);
  if (admitted.kind === 'stale') {
    // After the look for its claim: a payment that was used is answered, however stale its challenge is.
    const credited = await creditStale(
      deps,
      { demand, credential, opening, rail, staleness: admitted },
      signal,
    );
    if (credited) return credited;
    throw await refuse(admitted.detail, admitted.code);
  }
  const { quote } = admitted;
  const verification = await rail.verify(credential.form, quote, signal);
  switch (verification.kind) {
    case 'authorised': {
      const { authorization } = verification;
      if (authorization.state === 'authorised') {
        limitPayer(deps, authorization.payer);
        await awaitDoubtful(deps, demand, authorization.payer);
      }
      return { kind: 'new', rail, authorization, quote, credential };
    }
    case 'refused': {
      // The earlier payment may be what emptied the purse.
      const { authorization } = verification;
      const quoteHash = hashQuoteOf(opening);
      if (authorization) await awaitDoubtful(deps, demand, authorization.payer);
      const earlier =
        authorization && (await takeOwedAlone(deps, demand, { authorization, quoteHash, wire }));
      if (earlier?.kind === 'owed') return earlier;
      // A copy of this request may have been given it an instant ago.
      const used = authorization && (await findUse(deps.sql, claimKey));
      if (used) return toExisting(used, demand, credential, opening);
      throw await refuse(verification.reason, 'verification-failed');
    }
    case 'unavailable':
      throw new Problem('unavailable', {
        detail:
          'The payment cannot be checked right now. Nothing was taken: send the same request again shortly.',
        cause: verification.cause,
        retryAfterSeconds: 5,
        isUncharged: true,
      });
    case 'spent':
      return admitSpent(deps, { demand, credential, opening }, verification);
    default:
      throw verification satisfies never;
  }
}

/** Whatever wire brought a payment first, its receipt is spelled in the one that asks now. */
function toExisting(
  claim: Claim,
  demand: Demand,
  { wire, form }: Credential,
  opening: QuoteOpening | undefined,
): Admission {
  const isProven = isEcho(claim, opening) && isPaymentProof(form);
  return { kind: 'existing', claim: { ...sameRequest(claim, demand), wire }, isProven };
}

/** A payment buys one request. With any other it is refused for good: a new challenge would pay twice. */
export function sameRequest(claim: Claim, demand: Demand): Claim {
  // A payment that came by itself, and whose request was not kept, is credit whatever it is shown with.
  if (claim.requestDigest === UNKNOWN_REQUEST) return claim;
  if (claim.requestDigest === demand.requestDigest && claim.purpose === demand.purpose) return claim;
  throw new Problem('credential-used', {
    detail: claim.rail === null ? OTHER_CALL : OTHER_PAYMENT,
    isUncharged: true,
  });
}

const OTHER_PAYMENT = 'This payment was already used for another request. Make a new payment for this one.';
const OTHER_CALL =
  'This Idempotency-Key was already used for another request. Choose a new one for this one.';

/** Whether a payment that another request was quicker with came with our challenge for it. */
export function isProof(claim: Claim, payment: { credential: Credential; quote: Quote }): boolean {
  const { credential, quote } = payment;
  const opening = credential.quoteToken === undefined ? undefined : { kind: 'open' as const, quote };
  return isEcho(claim, opening) && isPaymentProof(credential.form);
}

function hashQuoteOf(opening: QuoteOpening | undefined): Buffer | null {
  return !opening || opening.kind === 'tampered' ? null : hashQuoteId(opening.quote);
}

function isEcho(claim: Claim, opening: QuoteOpening | undefined): boolean {
  const shown = hashQuoteOf(opening);
  return shown !== null && claim.quoteHash !== null && shown.equals(claim.quoteHash);
}

type AdmittedQuote = { kind: 'good'; quote: Quote } | Staleness;
type Staleness = { kind: 'stale'; detail: string; code: RefusalCode; isForAnother: boolean };

/** The price lock: the quote a client echoes holds, whatever the price is now. */
function admitQuote(
  deps: GatewayDeps,
  demand: Demand,
  credential: Credential,
  opening: QuoteOpening | undefined,
): AdmittedQuote {
  const stale = (code: RefusalCode, detail: string, isForAnother = false): Staleness => {
    return { kind: 'stale', code, detail, isForAnother };
  };
  // A wire without room for an echo pays today's price.
  if (!opening && !credential.refusal) return { kind: 'good', quote: deps.quotes.issue(demand) };
  if (opening?.kind === 'tampered') {
    return stale('unknown-challenge', 'The payment answers a challenge that is not ours.');
  }
  if (opening?.kind === 'expired') {
    return stale('expired', 'The challenge has expired. Pay the one in this answer.');
  }
  const quote = opening && { ...opening.quote, resource: demand.resource };
  if (quote && (quote.requestDigest !== demand.requestDigest || quote.purpose !== demand.purpose)) {
    return stale('unknown-challenge', 'The payment answers the challenge of another request.', true);
  }
  const { refusal } = credential;
  if (refusal || !quote) {
    const { detail = 'The payment answers no challenge of ours.', code = 'verification-failed' } =
      refusal ?? {};
    // What is not over was made for a request that was sent otherwise: that one can still be sent.
    return stale(code, detail, code !== 'expired');
  }
  return { kind: 'good', quote };
}

type StaleInput = {
  demand: Demand;
  credential: Credential;
  opening: QuoteOpening | undefined;
  rail: Rail;
  staleness: Staleness;
};

/**
 * Money that has arrived for a challenge that is no good any more is never answered with another challenge: it
 * is credit of whoever paid, or waits for the request it was made for. Undefined when nothing has arrived.
 */
async function creditStale(
  deps: GatewayDeps,
  { demand, credential, opening, rail, staleness }: StaleInput,
  signal: AbortSignal,
): Promise<Admission | undefined> {
  if (!opening || opening.kind === 'tampered') return undefined;
  const { form } = credential;
  const quote = { ...opening.quote, resource: demand.resource };
  const verification = await rail.verify(form, quote, signal);
  // It buys nothing with any request, so it need not wait for its own.
  if (verification.kind === 'spent') {
    return admitSpent(deps, { demand, credential, opening }, verification);
  }
  if (verification.kind !== 'authorised' || verification.authorization.state !== 'paid') return undefined;
  if (staleness.isForAnother) {
    throw new Problem('credential-used', {
      detail: 'This payment was made for another request. Send it with that one.',
      isUncharged: true,
    });
  }
  const { authorization } = verification;
  const failure: Failure = { problem: 'credential-used', detail: LATE };
  const quoteHash = hashQuoteId(opening.quote);
  await letGo(deps, { authorization, quoteHash, demand: opening.quote, failure });
  const claim = await findClaim(deps.sql, claimIdOf(authorization.claimKey));
  return claim && { kind: 'existing', claim, isProven: isPaymentProof(form) };
}

const LATE = 'This payment came after its challenge had expired. It is kept as credit of its payer.';

/**
 * A payment that is on its rail already: another request was quicker with it an instant ago, or it came by
 * itself, before any request. Then it is credited, and the problem says so.
 */
async function admitSpent(
  deps: GatewayDeps,
  { demand, credential, opening }: Pick<StaleInput, 'demand' | 'credential' | 'opening'>,
  { authorization, settlement }: Extract<Verification, { kind: 'spent' }>,
): Promise<Admission> {
  if (await creditStray(deps, toStray(demand, credential, authorization), settlement)) {
    const members = { reference: settlement.reference };
    throw new Problem(STRAY.problem, { detail: STRAY.detail, members });
  }
  const claim = await findClaim(deps.sql, claimIdOf(authorization.claimKey));
  invariant(claim, 'a payment that could not be claimed has a claim');
  return toExisting(claim, demand, credential, opening);
}

function toStray(demand: Demand, { wire }: Credential, authorization: Authorization): Stray {
  const { claimKey, rail, payer, unit, units, amount } = authorization;
  const { purpose, requestDigest } = demand;
  const intent = toIntent(authorization);
  return { claimKey, rail, payer, unit, units, amount, wire, purpose, requestDigest, intent };
}
