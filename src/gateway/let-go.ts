import { withTransaction } from '../db/index.ts';
import {
  type Authorization,
  type Claim,
  claimIdOf,
  type Failure,
  insertClaim,
  lockClaim,
  toIntent,
  updateClaim,
} from '../payments/index.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { applySettlement, cancelOnRail, settleOnRail } from './settle-claim.ts';

/** The digest in claims of payments whose request nobody knows any more. */
export const UNKNOWN_REQUEST = '';

export type UnwantedPayment = {
  authorization: Authorization;
  quoteHash: Buffer;
  /** What it was for, as far as that is known. */
  demand: Pick<Demand, 'purpose' | 'amount' | 'requestDigest'> | undefined;
  failure: Failure;
};

/**
 * Ends a payment that came by itself and buys nothing: what is held is given back, and what has arrived for
 * good becomes credit on a refund key for who shows its challenge and its preimage.
 */
export async function letGo(deps: GatewayDeps, unwanted: UnwantedPayment): Promise<void> {
  const { authorization, failure } = unwanted;
  const claimId = claimIdOf(authorization.claimKey);
  const isPaid = authorization.state === 'paid';
  const claim = await withTransaction(deps.sql, async (tx) => {
    if (!(await enterUnwanted(deps, tx, unwanted))) return undefined;
    await deps.ledger.openPayer(tx, claimId);
    if (!isPaid) await updateClaim(tx, claimId, { state: 'failed', failure, isClosed: true });
    return lockClaim(tx, claimId);
  });
  // Somebody else's already: with a claim of its own it ends as that says.
  if (!claim) return;
  if (!isPaid) return cancelOnRail(deps, claim);
  const settlement = await settleOnRail(deps, claim);
  await applySettlement(deps, claimId, settlement, { runsNext: false });
}

function enterUnwanted(
  deps: GatewayDeps,
  tx: Parameters<typeof insertClaim>[0],
  { authorization, quoteHash, demand, failure }: UnwantedPayment,
): Promise<boolean> {
  const { claimKey, rail, payer, amount } = authorization;
  return insertClaim(tx, {
    ...{ claimKey, rail, payer, quoteHash, wire: null },
    purpose: demand?.purpose ?? 'call',
    accountId: claimIdOf(claimKey),
    amount: demand?.amount ?? amount,
    requestDigest: demand?.requestDigest ?? UNKNOWN_REQUEST,
    mode: 'before-run',
    state: 'settling',
    answerState: 'lost',
    worker: deps.worker.id,
    context: { purpose: 'credit', failure } satisfies Claim['context'],
    intent: toIntent(authorization),
  });
}
