import { sha256Hex } from '../core/bytes.ts';
import { isDatabaseLost } from '../core/database-lost.ts';
import { newUuid, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { ZERO } from '../core/money.ts';
import { Problem, type ProblemType } from '../core/problem.ts';
import type { Tx } from '../db/index.ts';
import { type FreeCall, giveBackFreeCall, keepFreeCall, maySpend, type Principal } from '../keys/index.ts';
import type { HoldRequest, HoldResult } from '../ledger/index.ts';
import {
  type Carried,
  type Claim,
  claimIdOf,
  findClaim,
  insertClaim,
  withdrawClaim,
} from '../payments/index.ts';
import { opaquePayer, type ReceiptDraft } from '../provenance/index.ts';
import { sameRequest } from './admit-credential.ts';
import { returnFreeCall, runLimited, takeAllowance } from './allowance.ts';
import { answerClaim, doubtWhileLost, toFailure, withdrawn } from './answer-claim.ts';
import { refuseByCap, spendableBy } from './child-keys.ts';
import type { ClaimContext } from './claim-context.ts';
import { type Demand, demandPayment } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { noteFailure, refuseIfBlocked, toProblem, toUncharged } from './failure.ts';
import { guardClaim } from './guard-claim.ts';
import { openHeard } from './lost-opening.ts';
import { commitCovered, releaseRun, runSale, withdrawRun } from './run-sale.ts';
import {
  hashRequest,
  hashResult,
  type InstantRun,
  type RunTerms,
  type Sale,
  toDemand,
  toHoldRequest,
} from './sale.ts';

/** A delivered call that a key paid; free tools have no receipt. */
export type KeyAnswer = {
  result: unknown;
  receiptId: Uuid | undefined;
  charged: bigint;
  /** What the key can still spend. */
  balance: bigint | undefined;
  /** How many more are free, when this one was. */
  freeCallsLeft?: number | undefined;
};

/** What a caller wants, and what came with its request. */
type Wanted = { sale: Sale; carried: Carried };
type Ordered = { sale: Sale; demand: Demand };

/**
 * One call paid from the balance of a bearer key: hold, run, capture; or nothing at all (rule 8). Most calls come
 * by here, so no promise is made on the way that nothing waits for.
 */
export function callWithKey(deps: GatewayDeps, wanted: Wanted, principal: Principal): Promise<KeyAnswer> {
  const { sale } = wanted;
  const payer = payerOf(principal);
  refuseIfBlocked(deps, sale, payer);
  const id = newUuid();
  const { accountId, keyId } = principal;
  const hold = toHoldRequest(sale, { id, accountId, keyId, price: sale.price, hasClaim: false });
  const request = principal.capIds.length === 0 ? hold : { ...hold, capIds: principal.capIds };
  const asked = { wanted, principal, request };
  return sale.runInstantly ? chargeInstant(deps, asked, sale.runInstantly()) : chargeRun(deps, asked);
}

/** A call by key on its way: what is set aside for it, and by whom. */
type Call = { wanted: Wanted; principal: Principal; request: HoldRequest };

/** A tool that takes its time: the money is set aside before it runs, and taken when it delivered. */
async function chargeRun(deps: GatewayDeps, { wanted, principal, request }: Call): Promise<KeyAnswer> {
  const { sale } = wanted;
  const { id } = request;
  const payer = payerOf(principal);
  const hold = await deps.charger.hold(request).catch(throwUncharged);
  if (hold.kind !== 'held') throw await refusal(deps, wanted, principal, hold);
  const outcome = await runSale(deps, sale, keyTerms(principal));
  if (outcome.kind === 'failed') {
    await deps.charger.release(request).catch(throwUncharged);
    await noteFailure(deps, sale, payer, toProblem(outcome));
    throw toUncharged(outcome);
  }
  const receipt = toReceipt(deps, sale, principal, { id, responseHash: hashResult(outcome.result) });
  const capture = await deps.charger
    .capture(request, receipt)
    .catch((cause: unknown) => throwUnknown(id, cause));
  if (capture.kind === 'not-open') {
    throw new Problem('unavailable', {
      detail: 'The call took longer than its hold lasts.',
      isUncharged: true,
    });
  }
  deps.reliability.noteDelivered(payer, sale.toolId);
  return { result: outcome.result, receiptId: id, charged: sale.price, balance: hold.rest };
}

/** A tool that has run in this process: its answer is held back until one statement has charged for it. */
async function chargeInstant(deps: GatewayDeps, call: Call, run: InstantRun): Promise<KeyAnswer> {
  const { wanted, principal, request } = call;
  const { sale } = wanted;
  const { id } = request;
  const receipt = toReceipt(deps, sale, principal, { id, responseHash: run.responseHash });
  let charge: HoldResult;
  try {
    charge = await deps.charger.charge(request, receipt);
  } catch (cause) {
    return throwUnknown(id, cause);
  }
  if (charge.kind !== 'held') throw await refusal(deps, wanted, principal, charge);
  return { result: run.result, receiptId: id, charged: sale.price, balance: charge.rest };
}

/** A hold that nobody captures is given back when its time is up. */
function throwUncharged(cause: unknown): never {
  if (!isDatabaseLost(cause)) throw cause;
  throw new Problem('unavailable', {
    detail: 'The database does not answer now. Nothing was taken; call again shortly.',
    cause,
    isUncharged: true,
  });
}

/** A charge whose answer got lost was made or was not, and only the receipt tells. */
function throwUnknown(id: Uuid, cause: unknown): never {
  if (cause instanceof Problem) throw cause;
  throw new Problem('outcome-unknown', {
    detail:
      'The database did not answer. If the call was charged, its receipt says so; if there is none, it was not.',
    cause,
    retryAfterSeconds: 5,
    members: { receipt_id: id },
  });
}

/** The same with an `Idempotency-Key`: one execution, and its stored answer to whoever repeats it. */
export async function callWithIdempotencyKey(
  deps: GatewayDeps,
  wanted: Wanted,
  principal: Principal,
  idempotencyKey: string,
): Promise<KeyAnswer> {
  refuseIfBlocked(deps, wanted.sale, payerOf(principal));
  const claimKey = keyClaimKeyOf(principal, idempotencyKey);
  return doubtWhileLost(claimIdOf(claimKey), () => callOnce(deps, wanted, principal, claimKey));
}

async function callOnce(
  deps: GatewayDeps,
  wanted: Wanted,
  principal: Principal,
  claimKey: string,
): Promise<KeyAnswer> {
  const { sale, carried } = wanted;
  const demand = toDemand(sale, carried);
  const claimId = claimIdOf(claimKey);
  const opened = await openKeyClaim(deps, { sale, demand }, principal, claimKey);
  if (opened.kind === 'taken') {
    const claim = await findClaim(deps.sql, claimId);
    if (!claim) throw withdrawn();
    return answerStoredCall(deps, demand, claim, principal);
  }
  if (opened.hold.kind !== 'held') throw await refusal(deps, wanted, principal, opened.hold);
  return guardClaim(deps, demand, claimId, async () => {
    const { free } = opened;
    const call = await runCovered(deps, { sale, demand, free }, principal, claimId);
    const balance = await spendableBy(deps, principal);
    return { ...call, receiptId: free ? undefined : claimId, balance, freeCallsLeft: free?.left };
  });
}

/** What a call with this `Idempotency-Key` came to before. */
export async function answerStoredCall(
  deps: GatewayDeps,
  demand: Demand,
  claim: Claim,
  principal: Principal,
): Promise<KeyAnswer> {
  const asker = { isProven: true, isOwed: false };
  const answer = await answerClaim(deps, demand, sameRequest(claim, demand), asker);
  invariant(answer.purpose === 'call', `claim ${claim.id} is not a call`);
  const balance = await spendableBy(deps, principal);
  return { result: answer.result, receiptId: receiptOf(claim), charged: claim.amount, balance };
}

/** Names the one call that a principal makes under an `Idempotency-Key`. */
export function keyClaimKeyOf(principal: Principal, idempotencyKey: string): string {
  return `key:${askerOf(principal)}:${sha256Hex(idempotencyKey)}`;
}

/** How we say that a call found no place to run in. */
const NO_PLACE: ReadonlySet<ProblemType> = new Set(['unavailable', 'too-many-requests']);

/** What was free has no receipt. */
function receiptOf(claim: Claim): Uuid | undefined {
  return claim.amount === 0n ? undefined : claim.id;
}

async function runCovered(
  deps: GatewayDeps,
  { sale, demand, free }: Ordered & { free: FreeCall | undefined },
  principal: Principal,
  claimId: Uuid,
): Promise<Pick<KeyAnswer, 'result' | 'charged'>> {
  const outcome = free
    ? await runLimited(deps, sale, payerOf(principal))
    : await runSale(deps, sale, keyTerms(principal));
  if (outcome.kind === 'failed') {
    if (free) await returnFreeCall(deps, free);
    const failure = toProblem(outcome);
    // It never ran for want of a place here: the key may be used again, and then runs for the first time.
    if ('cause' in outcome && NO_PLACE.has(failure.problem)) {
      await withdrawRun(deps, claimId);
      throw toUncharged(outcome);
    }
    const claim = await releaseRun(deps, claimId, failure);
    await noteFailure(deps, sale, payerOf(principal), failure);
    throw await toFailure(deps, demand, claim, { isProven: true });
  }
  const also = free && ((tx: Tx) => keepFreeCall(tx, free));
  const claim = await commitCovered(deps, claimId, outcome, also);
  if (claim.state !== 'delivered') throw await toFailure(deps, demand, claim, { isProven: true });
  deps.reliability.noteDelivered(payerOf(principal), sale.toolId);
  return { result: outcome.result, charged: claim.amount };
}

/**
 * Whose an `Idempotency-Key` is: a child's is its own, so that no key is answered what a sibling paid for
 * (MONEY.md, rule 3).
 */
function askerOf({ ancestorIds, accountId, keyId }: Principal): Uuid {
  return ancestorIds.length === 0 ? accountId : keyId;
}

/** How a key's account is called in failures and receipts. */
export function payerOf(principal: Principal): string {
  return `account:${principal.accountId}`;
}

type OpenedKeyClaim = { kind: 'opened'; hold: HoldResult; free: FreeCall | undefined } | { kind: 'taken' };

async function openKeyClaim(
  deps: GatewayDeps,
  { sale, demand }: Ordered,
  principal: Principal,
  claimKey: string,
): Promise<OpenedKeyClaim> {
  const context: ClaimContext = {
    purpose: 'call',
    toolId: sale.toolId,
    versionId: sale.versionId,
    toolName: sale.request.tool,
    payeeId: sale.payeeId,
    requestHash: hashRequest(sale.request).toString('hex'),
    keyId: principal.keyId,
  };
  return openHeard(deps, claimKey, (tx, opening) =>
    enterKeyClaim(deps, tx, { sale, demand, principal, claimKey, context: { ...context, ...opening } }),
  );
}

type Entry = Ordered & { principal: Principal; claimKey: string; context: ClaimContext };

async function enterKeyClaim(
  deps: GatewayDeps,
  tx: Tx,
  { sale, demand, principal, claimKey, context }: Entry,
): Promise<OpenedKeyClaim> {
  const id = claimIdOf(claimKey);
  const { accountId, keyId, capIds } = principal;
  // Before the claim, as that says what the call costs; with a claim of somebody quicker it is undone.
  const free = await takeAllowance(deps, tx, { sale, principal, id });
  const price = free ? ZERO : demand.amount;
  const isOurs = await insertClaim(tx, {
    ...{ claimKey, purpose: 'call', rail: null, wire: null, payer: payerOf(principal), accountId },
    ...{ amount: price, requestDigest: demand.requestDigest, quoteHash: null },
    ...{ mode: 'after-run', state: 'running', worker: deps.worker.id, context, intent: null },
  });
  if (!isOurs) {
    if (free) await giveBackFreeCall(tx, free);
    return { kind: 'taken' };
  }
  const request = toHoldRequest(sale, { id, accountId, keyId, price, hasClaim: true });
  // A free call has nothing to set aside.
  const setAside = async (): Promise<HoldResult> =>
    free ? { kind: 'held' } : deps.ledger.holdBalance(tx, { ...request, capIds });
  const hold = (await maySpend(tx, keyId)) ? await setAside() : { kind: 'key-refused' as const };
  if (hold.kind !== 'held') {
    await withdrawClaim(tx, claimKey);
    if (free) await giveBackFreeCall(tx, free);
  }
  return { kind: 'opened', hold, free };
}

function toReceipt(
  deps: GatewayDeps,
  sale: Sale,
  principal: Principal,
  { id, responseHash }: { id: Uuid; responseHash: Buffer },
): ReceiptDraft {
  return {
    toolId: sale.toolId,
    versionId: sale.versionId,
    toolName: sale.request.tool,
    payer: nameInReceipts(deps, principal),
    rail: 'key',
    paymentRef: id,
    requestHash: sale.requestHash ?? hashRequest(sale.request),
    responseHash,
  };
}

const receiptNames = new WeakMap<Principal, string>();

/** Derived once for as long as the principal is remembered. */
function nameInReceipts(deps: GatewayDeps, principal: Principal): string {
  const known = receiptNames.get(principal);
  if (known !== undefined) return known;
  const name = opaquePayer(deps.payerSalt, principal.accountId);
  receiptNames.set(principal, name);
  return name;
}

async function refusal(
  deps: GatewayDeps,
  { sale, carried }: Wanted,
  principal: Principal,
  hold: Exclude<HoldResult, { kind: 'held' }>,
): Promise<Problem> {
  switch (hold.kind) {
    case 'insufficient': {
      const detail = `The key has ${hold.available} mcents left and the call costs ${sale.price}. Top it up, or pay this call.`;
      const members = { balance_mcents: Number(hold.available) };
      return demandPayment(deps, toDemand(sale, carried), { detail, members });
    }
    case 'cap-refused':
      return refuseByCap(principal, sale.price, hold.refusal);
    case 'key-refused':
      return new Problem('unauthorized', {
        detail: 'The key was revoked or has expired.',
        isUncharged: true,
      });
    case 'closed':
      return new Problem('unavailable', { detail: 'The call was closed before it ran.', isUncharged: true });
    default:
      return hold satisfies never;
  }
}

function keyTerms(principal: Principal): RunTerms {
  return { paidBy: 'key', mayStream: true, payer: async () => payerOf(principal) };
}
