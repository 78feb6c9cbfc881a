import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { type Tx, withTransaction } from '../db/index.ts';
import { isTurnedAway, type Outcome } from '../execution/index.ts';
import { moveExposure } from '../ledger/index.ts';
import { type Claim, type Failure, lockClaim, updateClaim, withdrawClaim } from '../payments/index.ts';
import { type CallContext, readContext } from './claim-context.ts';
import type { GatewayDeps } from './deps.ts';
import { hashResult, type RunTerms, type Sale } from './sale.ts';
import { captureCall, failWithCredit, keepSettlement } from './settle-claim.ts';

export type Delivered = Extract<Outcome, { kind: 'delivered' }>;

const RUN_SLACK_MS = 30_000;
/** For what runs in this process and is over before it could be stopped. */
const NEVER = new AbortController().signal;

/** Runs what is sold. What breaks on our side counts as not delivered, so that no hold stays behind it. */
export async function runSale(
  deps: Pick<GatewayDeps, 'log'>,
  sale: Sale,
  terms: RunTerms,
): Promise<Outcome | { kind: 'failed'; cause: unknown }> {
  try {
    // The client's signal is not handed on: leaving never stops a call that is being paid (rule 6).
    const bound = sale.runInstantly ? NEVER : AbortSignal.timeout(sale.runTimeoutMs + RUN_SLACK_MS);
    return await sale.run(bound, terms);
  } catch (cause) {
    const { tool } = sale.request;
    if (isTurnedAway(cause)) deps.log.debug({ tool }, 'a call found no place to run in');
    else deps.log.warn({ err: cause, tool }, 'a call could not run');
    return { kind: 'failed', cause };
  }
}

/** Commit B: the outcome is stored and from here on only a settlement ends the claim. */
export async function commitOutcome(deps: GatewayDeps, claimId: Uuid, outcome: Delivered): Promise<Claim> {
  return withTransaction(deps.sql, async (tx) => {
    const claim = await lockRun(deps, tx, claimId);
    if (claim.state !== 'running') return claim;
    await storeAnswer(deps, tx, claim, outcome, { isPaid: false });
    await moveExposure(tx, claimId, { state: 'settling' });
    await updateClaim(tx, claimId, { state: 'settling', context: withResponse(claim, outcome) });
    await keepSettlement(deps, tx, claimId);
    return mustLock(tx, claimId);
  });
}

/**
 * Outcome and capture in one commit, for a call whose money is in the ledger already. `also` is part of that
 * commit.
 */
export async function commitCovered(
  deps: GatewayDeps,
  claimId: Uuid,
  outcome: Delivered,
  also?: (tx: Tx) => Promise<void>,
): Promise<Claim> {
  return withTransaction(deps.sql, async (tx) => {
    const claim = await lockRun(deps, tx, claimId);
    if (claim.state !== 'running') return claim;
    await also?.(tx);
    await storeAnswer(deps, tx, claim, outcome, { isPaid: true });
    const context = withResponse(claim, outcome);
    await updateClaim(tx, claimId, { context });
    if (claim.amount === 0n) await closeFree(deps, tx, claimId);
    else await captureCall(deps, tx, { ...claim, context }, claim.reference ?? claim.id);
    return mustLock(tx, claimId);
  });
}

/** A call that an allowance made free has no hold: there is nothing to split and nothing to give a receipt for. */
async function closeFree(deps: GatewayDeps, tx: Tx, claimId: Uuid): Promise<void> {
  await deps.answers.startClock(tx, claimId);
  await updateClaim(tx, claimId, { state: 'delivered', isClosed: true });
}

/** Ends a run that did not deliver. Also what the recovery does with runs whose gateway is gone. */
export async function releaseRun(deps: GatewayDeps, claimId: Uuid, failure: Failure): Promise<Claim> {
  return withTransaction(deps.sql, async (tx) => {
    const claim = await mustLock(tx, claimId);
    if (claim.state !== 'running') return claim;
    await deps.ledger.release(tx, claimId);
    if (claim.reference === null) {
      await moveExposure(tx, claimId, { state: 'void' });
      await updateClaim(tx, claimId, { state: 'failed', failure, isClosed: true });
    } else {
      await failWithCredit(deps, tx, claim, { reference: claim.reference, failure });
    }
    return mustLock(tx, claimId);
  });
}

/** Undoes a claim whose run never began, as if it had not been asked for. */
export async function withdrawRun(deps: GatewayDeps, claimId: Uuid): Promise<void> {
  await withTransaction(deps.sql, async (tx) => {
    const claim = await mustLock(tx, claimId);
    if (claim.state !== 'running') return;
    await deps.ledger.withdraw(tx, claimId);
    await withdrawClaim(tx, claim.claimKey);
  });
}

/** A claim that another gateway took over is not ours to finish: it then reads as what it became. */
async function lockRun(deps: GatewayDeps, tx: Tx, claimId: Uuid): Promise<Claim> {
  const claim = await mustLock(tx, claimId);
  invariant(claim.state !== 'running' || claim.worker === deps.worker.id, `claim ${claimId} runs elsewhere`);
  return claim;
}

async function storeAnswer(
  deps: GatewayDeps,
  tx: Tx,
  claim: Claim,
  outcome: Delivered,
  paid: { isPaid: boolean },
) {
  const body = JSON.stringify(outcome.result);
  await deps.answers.store(tx, { id: claim.id, payer: claim.payer, body, ...paid });
}

function withResponse(claim: Claim, outcome: Delivered): CallContext {
  const context = readContext(claim);
  invariant(context.purpose === 'call', `claim ${claim.id} is not a call`);
  return { ...context, responseHash: hashResult(outcome.result).toString('hex') };
}

export async function mustLock(tx: Tx, id: Uuid): Promise<Claim> {
  const claim = await lockClaim(tx, id);
  invariant(claim, `claim ${id} is missing`);
  return claim;
}
