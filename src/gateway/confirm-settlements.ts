import { timeLimit } from '../core/time-limit.ts';
import { withTransaction } from '../db/index.ts';
import { moveExposure } from '../ledger/index.ts';
import {
  type Claim,
  finishClaim,
  lockClaim,
  type Rail,
  type SettlementCost,
  takeUnconfirmed,
} from '../payments/index.ts';
import { bookLoss } from './book-funds.ts';
import type { GatewayDeps } from './deps.ts';
import { onEachRail } from './on-each-rail.ts';

const ROWS_MAX = 100;
const LEASE_MS = 60_000;

/**
 * Looks again at payments that were booked before they were final: a chain may replace the block they were in.
 * One that vanished is sent once more, and one that can never come back is booked as a loss.
 */
export function confirmSettlements(deps: GatewayDeps, signal: AbortSignal): Promise<number> {
  return onEachRail(deps, (rail) => confirmRail(deps, rail, signal));
}

async function confirmRail(deps: GatewayDeps, rail: Rail, signal: AbortSignal): Promise<number> {
  const booked = { rail: rail.name, rowsMax: ROWS_MAX, leaseMs: LEASE_MS };
  const claims = await takeUnconfirmed(deps.sql, booked);
  for (const claim of claims) {
    if (signal.aborted) break;
    try {
      await confirm(deps, claim, signal);
    } catch (cause) {
      // One that cannot be looked at must not keep the others waiting; it is due again later.
      deps.log.error({ err: cause, claimId: claim.id }, 'could not confirm a settlement');
    }
  }
  return claims.length;
}

async function confirm(deps: GatewayDeps, claim: Claim, signal: AbortSignal): Promise<void> {
  const rail = deps.rails.find(({ name }) => name === claim.rail);
  if (!rail || !claim.intent) return;
  const bound = () => timeLimit(signal, deps.settings.settleTimeoutMs);
  const seen = await rail.lookup(claim.intent, bound());
  switch (seen.kind) {
    case 'settled':
      if (seen.isFinal) await finish(deps, claim, seen.costs);
      return;
    case 'refused':
      return lose(deps, claim, seen.costs ?? []);
    case 'unknown': {
      // A refusal to send it again is a word of the newest block, and only a look back tells what is final.
      const again = await rail.settle(claim.intent, bound());
      const { id: claimId } = claim;
      deps.log.warn({ claimId, err: seen.cause, again: again.kind }, 'a booked payment left its chain');
      return;
    }
    default:
      return seen satisfies never;
  }
}

/** The block that counts may be another one than was booked, at another price of gas. */
async function finish(deps: GatewayDeps, claim: Claim, costs: SettlementCost[]): Promise<void> {
  await withTransaction(deps.sql, async (tx) => {
    const current = await lockClaim(tx, claim.id);
    if (!current || current.finalAt !== null) return;
    await deps.ledger.correctCosts(tx, { reference: claim.claimKey, costs });
    await finishClaim(tx, claim.id);
  });
}

async function lose(deps: GatewayDeps, claim: Claim, costs: SettlementCost[]): Promise<void> {
  const { rail, intent } = claim;
  if (rail === null || intent === null) return;
  await withTransaction(deps.sql, async (tx) => {
    const current = await lockClaim(tx, claim.id);
    if (!current || current.finalAt !== null) return;
    await bookLoss(deps, tx, { ...intent, rail, amount: claim.amount });
    await deps.ledger.correctCosts(tx, { reference: claim.claimKey, costs });
    // The payer pays first from now on.
    await moveExposure(tx, claim.id, { state: 'void', isLoss: true });
    await finishClaim(tx, claim.id);
  });
  deps.log.error({ claimId: claim.id, reference: claim.reference }, 'a payment was taken back by its chain');
}
