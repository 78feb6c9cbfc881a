import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { millicents } from '../core/money.ts';
import { type Tx, withTransaction } from '../db/index.ts';
import { CARD_FINAL_MS, FUNDS_FINAL_MS, moveExposure } from '../ledger/index.ts';
import {
  type Claim,
  deferSettlement,
  deferUntil,
  type Failure,
  type Holding,
  lockClaim,
  type Settled,
  type Settlement,
  updateClaim,
} from '../payments/index.ts';
import { opaquePayer } from '../provenance/index.ts';
import { bookFunds } from './book-funds.ts';
import { type ClaimContext, readContext } from './claim-context.ts';
import type { GatewayDeps } from './deps.ts';
import { deriveIssuedKey } from './issued-key.ts';

type Refused = Extract<Settlement, { kind: 'refused' }>;

/** Asks the claim's rail to move the money, within the time a request may wait for it. */
export async function settleOnRail(deps: GatewayDeps, claim: Claim): Promise<Settlement> {
  const rail = deps.rails.find(({ name }) => name === claim.rail);
  if (!rail || !claim.intent)
    return { kind: 'unknown', cause: new Error(`no rail ${claim.rail} for claim ${claim.id}`) };
  const settlement = await rail.settle(claim.intent, AbortSignal.timeout(deps.settings.settleTimeoutMs));
  if (settlement.kind === 'unknown') await deferSettlement(deps.sql, claim.id, 0);
  return settlement;
}

/** Sets a payer's money aside before its run, on rails that can; on others there is nothing to do. */
export async function holdOnRail(deps: GatewayDeps, claim: Claim): Promise<Holding> {
  const rail = deps.rails.find(({ name }) => name === claim.rail);
  if (!rail?.hold || !claim.intent) return { kind: 'held' };
  return rail.hold(claim.intent, AbortSignal.timeout(deps.settings.settleTimeoutMs));
}

/** Keeps the reconciler off a settlement in the commit that starts it, for as long as its request is at it. */
export function keepSettlement(deps: Pick<GatewayDeps, 'settings'>, tx: Tx, claimId: Uuid): Promise<void> {
  return deferSettlement(tx, claimId, deps.settings.settleTimeoutMs + SETTLE_SLACK_MS);
}

const SETTLE_SLACK_MS = 1_000;

/** Gives back what a rail holds for a claim that failed. Where that does not work now, a job does it later. */
export async function cancelOnRail(deps: GatewayDeps, claim: Claim): Promise<void> {
  const rail = deps.rails.find(({ name }) => name === claim.rail);
  if (!rail || !claim.intent || claim.state !== 'failed' || claim.reference !== null) return;
  try {
    await rail.cancel(claim.intent, AbortSignal.timeout(deps.settings.settleTimeoutMs));
    // What was let go is looked at once more when it can no longer arrive.
    await deferUntil(deps.sql, claim.id, claim.intent.validUntil);
  } catch (cause) {
    deps.log.warn({ err: cause, claimId: claim.id }, 'could not cancel on the rail yet');
  }
}

/**
 * Books what a settlement came to, once, whoever learns of it first: the request, the reconciler, another
 * gateway. `runsNext` keeps a call that was paid before its run open for that run.
 */
export async function applySettlement(
  deps: GatewayDeps,
  claimId: Uuid,
  settlement: Settlement,
  options: { runsNext: boolean },
): Promise<Claim> {
  return withTransaction(deps.sql, async (tx) => {
    const claim = await lockClaim(tx, claimId);
    invariant(claim, `claim ${claimId} is missing`);
    if (claim.state !== 'settling') return claim;
    const context = readContext(claim);
    switch (settlement.kind) {
      case 'settled':
        await bookSettlement(deps, tx, claim, context, settlement);
        await finishSettled(deps, tx, claim, context, { settlement, ...options });
        break;
      case 'refused':
        await finishRefused(deps, tx, claim, settlement);
        break;
      case 'unknown':
        await moveExposure(tx, claimId, { state: 'unknown' });
        break;
      default:
        settlement satisfies never;
    }
    const changed = await lockClaim(tx, claimId);
    invariant(changed, `claim ${claimId} is missing`);
    return changed;
  });
}

async function bookSettlement(
  deps: GatewayDeps,
  tx: Tx,
  claim: Claim,
  context: ClaimContext,
  settlement: Settled,
) {
  invariant(claim.rail && claim.intent, `claim ${claim.id} has no rail`);
  const { rail, intent, amount, accountId } = claim;
  const isBooked = await bookFunds(deps, tx, { ...intent, rail, amount, accountId }, settlement);
  invariant(isBooked, `claim ${claim.id} was funded before`);
  if (settlement.isFinal) await updateClaim(tx, claim.id, { isFinal: true });
  if (context.purpose === 'signup') await bookSignupBonus(deps, tx, claim, BigInt(context.bonusMcents));
  await moveExposure(tx, claim.id, { state: 'posted' });
}

/** A signup's credit may be more than its price by configuration; the difference is booked as promotion. */
async function bookSignupBonus(deps: GatewayDeps, tx: Tx, claim: Claim, bonus: bigint): Promise<void> {
  if (bonus <= 0n) return;
  await deps.ledger.promote(tx, { id: claim.id, accountId: claim.accountId, amount: millicents(bonus) });
}

async function finishSettled(
  deps: GatewayDeps,
  tx: Tx,
  claim: Claim,
  context: ClaimContext,
  input: { settlement: Settled; runsNext: boolean },
): Promise<void> {
  const { reference } = input.settlement;
  switch (context.purpose) {
    case 'call':
      if (claim.mode === 'after-run') return captureCall(deps, tx, claim, reference);
      if (input.runsNext)
        return updateClaim(tx, claim.id, { state: 'running', reference, worker: deps.worker.id });
      // The client is gone and its call never ran: what it paid is its credit.
      return failWithCredit(deps, tx, claim, { reference, failure: INTERRUPTED });
    case 'signup':
      if (context.publisherId) await deps.ledger.openPublisher(tx, context.publisherId);
      await deps.keys.issue(tx, {
        ...context,
        keyText: deriveIssuedKey(deps, claim, 'signup'),
        accountId: claim.accountId,
      });
      return updateClaim(tx, claim.id, { state: 'delivered', reference, isClosed: true });
    case 'credit':
      return failWithCredit(deps, tx, claim, { reference, failure: context.failure });
    case 'topup':
      return updateClaim(tx, claim.id, { state: 'delivered', reference, isClosed: true });
    default:
      context satisfies never;
  }
}

/** The money of a delivered call is here: take it, split it, write its receipt. */
export async function captureCall(deps: GatewayDeps, tx: Tx, claim: Claim, reference: string): Promise<void> {
  const context = readContext(claim);
  invariant(context.purpose === 'call' && context.responseHash, `claim ${claim.id} was not delivered`);
  const hold = await deps.ledger.hold(tx, claim.id);
  invariant(hold, `claim ${claim.id} has no hold`);
  const isCaptured = await deps.ledger.capture(
    tx,
    claim.id,
    claim.rail === 'stripe' ? CARD_FINAL_MS : FUNDS_FINAL_MS,
  );
  invariant(isCaptured, `the hold of claim ${claim.id} is not open`);
  await deps.receipts.append(tx, {
    id: claim.id,
    accountId: hold.accountId,
    toolId: context.toolId,
    versionId: context.versionId,
    toolName: context.toolName,
    payer: claim.rail ? claim.payer : opaquePayer(deps.payerSalt, claim.accountId),
    price: hold.amount,
    fee: hold.fee,
    rail: claim.rail ?? 'key',
    paymentRef: reference,
    requestHash: Buffer.from(context.requestHash, 'hex'),
    responseHash: Buffer.from(context.responseHash, 'hex'),
  });
  await deps.answers.startClock(tx, claim.id);
  await updateClaim(tx, claim.id, { state: 'delivered', reference, isClosed: true });
}

async function finishRefused(deps: GatewayDeps, tx: Tx, claim: Claim, settlement: Refused): Promise<void> {
  const isLoss = claim.mode === 'after-run';
  await deps.ledger.release(tx, claim.id);
  // A reverted transaction brings nothing and still costs its gas.
  await deps.ledger.spend(tx, { reference: claim.claimKey, costs: settlement.costs ?? [] });
  await moveExposure(tx, claim.id, { state: 'void', isLoss });
  await deps.answers.destroy(tx, claim.id);
  await updateClaim(tx, claim.id, {
    state: 'failed',
    failure: { problem: 'payment-required', detail: settlement.reason },
    isClosed: true,
  });
}

/** The payment stands and bought nothing: it opens an account whose key is returned with the answer. */
export async function failWithCredit(
  deps: GatewayDeps,
  tx: Tx,
  claim: Claim,
  input: { reference: string; failure: Failure },
): Promise<void> {
  await deps.keys.issue(tx, {
    keyText: deriveIssuedKey(deps, claim, 'refund'),
    accountId: claim.accountId,
    scopes: ['example', 'invoke'],
    label: 'refund',
  });
  await updateClaim(tx, claim.id, { ...input, state: 'failed', isClosed: true });
}

export const INTERRUPTED: Failure = {
  problem: 'unavailable',
  detail: 'The gateway stopped before the call was finished.',
};
