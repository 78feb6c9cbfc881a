import { uuidFrom } from '../core/ids.ts';
import { timeLimit } from '../core/time-limit.ts';
import { withTransaction } from '../db/index.ts';
import {
  type Claim,
  type Failure,
  lockClaim,
  type Rail,
  type Settled,
  takeVoidedClaims,
  updateClaim,
  watchNoLonger,
} from '../payments/index.ts';
import { bookFunds } from './book-funds.ts';
import type { GatewayDeps } from './deps.ts';
import { onEachRail } from './on-each-rail.ts';
import { cancelOnRail } from './settle-claim.ts';

const LATE: Failure = {
  problem: 'credential-used',
  detail: 'This payment arrived after its call was let go. It is kept as credit of its payer.',
};
const ROWS_MAX = 100;
const LEASE_MS = 60_000;

/**
 * Looks at payments we let go (the tool failed, the settlement was refused) once they can no longer settle:
 * one that somebody else sent to us all the same is its payer's credit.
 */
export function creditLateArrivals(deps: GatewayDeps, signal: AbortSignal): Promise<number> {
  return onEachRail(deps, (rail) => lookAtRail(deps, rail, signal));
}

async function lookAtRail(deps: GatewayDeps, rail: Rail, signal: AbortSignal): Promise<number> {
  const voided = { rail: rail.name, rowsMax: ROWS_MAX, leaseMs: LEASE_MS };
  const claims = await takeVoidedClaims(deps.sql, voided);
  for (const claim of claims) {
    if (signal.aborted) break;
    try {
      await look(deps, rail, claim, signal);
    } catch (cause) {
      // One that cannot be looked at must not keep the others waiting; it is due again later.
      deps.log.error({ err: cause, claimId: claim.id }, 'could not look at a payment we let go');
    }
  }
  return claims.length;
}

async function look(deps: GatewayDeps, rail: Rail, claim: Claim, signal: AbortSignal): Promise<void> {
  if (!claim.intent) return;
  const bound = timeLimit(signal, deps.settings.settleTimeoutMs);
  await cancelOnRail(deps, claim);
  if (claim.intent.validUntil > deps.clock.now()) return;
  const settlement = await rail.lookup(claim.intent, bound);
  if (settlement.kind === 'refused') await watchNoLonger(deps.sql, claim.id);
  if (settlement.kind !== 'settled') return;
  await bookLateArrival(deps, claim, settlement);
  deps.log.warn({ claimId: claim.id, reference: settlement.reference }, 'a payment we let go arrived late');
}

async function bookLateArrival(deps: GatewayDeps, claim: Claim, settled: Settled): Promise<void> {
  const { rail, intent } = claim;
  if (rail === null || intent === null) return;
  // A top-up names the account it was for; anything else is its payer's.
  const accountId = claim.purpose === 'topup' ? claim.accountId : uuidFrom('payer', claim.payer);
  await withTransaction(deps.sql, async (tx) => {
    const current = await lockClaim(tx, claim.id);
    if (current?.state !== 'failed' || current.reference !== null) return;
    await deps.ledger.openPayer(tx, accountId);
    // What a settlement of ours had cost was booked when it was refused.
    const free: Settled = { ...settled, costs: [] };
    await bookFunds(deps, tx, { ...intent, rail, amount: claim.amount, accountId }, free);
    const { reference, isFinal } = settled;
    await updateClaim(tx, claim.id, { reference, failure: LATE, isFinal });
  });
}
