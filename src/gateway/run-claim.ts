import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { millicents } from '../core/money.ts';
import type { Problem } from '../core/problem.ts';
import { withTransaction } from '../db/index.ts';
import { type Claim, type Failure, findClaim, type Rail } from '../payments/index.ts';
import { toFailure } from './answer-claim.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { noteFailure, toProblem } from './failure.ts';
import { explain } from './purchase.ts';
import { commitCovered, commitOutcome, releaseRun, runSale } from './run-sale.ts';
import { type RunTerms, type Sale, toHoldRequest } from './sale.ts';
import { applySettlement, cancelOnRail, holdOnRail, settleOnRail } from './settle-claim.ts';

/** A delivered call that a payment of its own paid. */
export type CredentialAnswer = { claim: Claim; result: unknown };

type Call = { sale: Sale; demand: Demand };

/** The work first, then the money: for payers whose risk is bounded, and for money that is held for us. */
export async function runThenSettle(
  deps: GatewayDeps,
  call: Call & { rail: Rail },
  claimId: Uuid,
): Promise<CredentialAnswer> {
  const { sale, demand } = call;
  // Only where the rail can set money aside is there anything to do before the run.
  const unpaid = call.rail.hold && (await holdFirst(deps, demand, claimId));
  if (unpaid) throw unpaid;
  const outcome = await runSale(deps, sale, claimTerms(deps, claimId, { mayStream: false }));
  if (outcome.kind === 'failed') throw await failRun(deps, call, claimId, toProblem(outcome));
  const claim = await commitOutcome(deps, claimId, outcome);
  // Declared gone by another gateway meanwhile: it released the hold, so the result is nobody's.
  if (claim.state !== 'settling') throw await toFailure(deps, demand, claim, { isProven: true });
  const settlement = await settleOnRail(deps, claim);
  const settled = await applySettlement(deps, claimId, settlement, { runsNext: false });
  if (settled.state !== 'delivered') throw await explain(deps, demand, settled, settlement);
  return { claim: settled, result: outcome.result };
}

/** The problem of a payer whose rail could not set the money aside: nothing ran, and nothing is taken. */
async function holdFirst(deps: GatewayDeps, demand: Demand, claimId: Uuid): Promise<Problem | undefined> {
  const holding = await holdOnRail(deps, await loadClaim(deps, claimId));
  if (holding.kind === 'held') return undefined;
  const failure: Failure =
    holding.kind === 'refused'
      ? { problem: 'payment-required', detail: holding.reason }
      : { problem: 'unavailable', detail: 'The payment could not be authorised now. Nothing was taken.' };
  const claim = await releaseRun(deps, claimId, failure);
  await cancelOnRail(deps, claim);
  return toFailure(deps, demand, claim, { isProven: true });
}

/** The money first, then the work; what it does not deliver becomes credit on a refund key. */
export async function settleThenRun(deps: GatewayDeps, call: Call, claimId: Uuid): Promise<CredentialAnswer> {
  const { sale, demand } = call;
  const settlement = await settleOnRail(deps, await loadClaim(deps, claimId));
  const settled = await applySettlement(deps, claimId, settlement, { runsNext: true });
  if (settled.state !== 'running') throw await explain(deps, demand, settled, settlement);
  const price = millicents(settled.amount);
  const hold = await withTransaction(deps.sql, (tx) =>
    deps.ledger.holdBalance(
      tx,
      toHoldRequest(sale, {
        ...{ id: claimId, accountId: settled.accountId, keyId: undefined, price, hasClaim: true },
      }),
    ),
  );
  invariant(hold.kind === 'held', `claim ${claimId} was funded and cannot be held`);
  const outcome = await runSale(deps, sale, claimTerms(deps, claimId, { mayStream: true }));
  if (outcome.kind === 'failed') throw await failRun(deps, call, claimId, toProblem(outcome));
  const claim = await commitCovered(deps, claimId, outcome);
  if (claim.state !== 'delivered') throw await toFailure(deps, demand, claim, { isProven: true });
  return { claim, result: outcome.result };
}

/** The tool did not deliver: free when no money had moved, credit on a refund key when it had. */
async function failRun(deps: GatewayDeps, call: Call, claimId: Uuid, failure: Failure): Promise<Problem> {
  const claim = await releaseRun(deps, claimId, failure);
  await cancelOnRail(deps, claim);
  await noteFailure(deps, call.sale, claim.payer, failure);
  return toFailure(deps, call.demand, claim, { isProven: true });
}

export async function loadClaim(deps: GatewayDeps, id: Uuid): Promise<Claim> {
  const claim = await findClaim(deps.sql, id);
  invariant(claim, `claim ${id} is missing`);
  return claim;
}

function claimTerms(deps: GatewayDeps, claimId: Uuid, { mayStream }: Pick<RunTerms, 'mayStream'>): RunTerms {
  return { paidBy: 'credential', mayStream, payer: async () => (await loadClaim(deps, claimId)).payer };
}
