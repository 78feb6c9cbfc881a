import { timeLimit } from '../core/time-limit.ts';
import {
  adoptSettlements,
  type Claim,
  listOrphanedRuns,
  loseAnswersOfStoppedWorkers,
  type Rail,
  takeDueSettlements,
} from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';
import { onEachRail } from './on-each-rail.ts';
import { releaseRun } from './run-sale.ts';
import { applySettlement, cancelOnRail, INTERRUPTED } from './settle-claim.ts';

const ROWS_MAX = 100;
/** Enough that a slow chain does not hold everybody up, few enough for one RPC. */
const AT_ONCE = 8;
const LEASE_MS = 2_000;
/** Far beyond the longest wait for a place, settlement and run together. */
const RUN_MS_MAX = 10 * 60 * 1000;

/**
 * Takes over what gateways that are gone left behind: runs are released and never run again, settlements are
 * due at once, and answers nobody received are owed. Runs before the first request and then on a timer.
 */
export async function adoptOrphans(deps: GatewayDeps): Promise<number> {
  await loseAnswersOfStoppedWorkers(deps.sql);
  await adoptSettlements(deps.sql, deps.worker.id);
  const orphans = await listOrphanedRuns(deps.sql, { rowsMax: ROWS_MAX, runMsMax: RUN_MS_MAX });
  const released: Claim[] = [];
  for (const claimId of orphans) {
    try {
      released.push(await releaseRun(deps, claimId, INTERRUPTED));
      deps.log.info({ claimId }, 'released the run of a gateway that is gone');
    } catch (cause) {
      // One claim that cannot be read must not keep a gateway from starting.
      deps.log.error({ err: cause, claimId }, 'could not release a run');
    }
  }
  // All at once: a rail that hangs must not keep a gateway from starting for longer than one of them takes.
  await Promise.all(released.map((claim) => cancelOnRail(deps, claim)));
  return orphans.length;
}

/** Finishes settlements whose request could not: asks the rail again until it knows. */
export function reconcileSettlements(deps: GatewayDeps, signal: AbortSignal): Promise<number> {
  return onEachRail(deps, (rail) => reconcileRail(deps, rail, signal));
}

async function reconcileRail(deps: GatewayDeps, rail: Rail, signal: AbortSignal): Promise<number> {
  const due = { rail: rail.name, rowsMax: ROWS_MAX, leaseMs: LEASE_MS };
  const claims = await takeDueSettlements(deps.sql, due);
  for (let first = 0; first < claims.length; first += AT_ONCE) {
    await Promise.all(claims.slice(first, first + AT_ONCE).map((claim) => reconcile(deps, claim, signal)));
  }
  return claims.length;
}

async function reconcile(deps: GatewayDeps, claim: Claim, signal: AbortSignal): Promise<void> {
  const rail = deps.rails.find(({ name }) => name === claim.rail);
  if (!rail || !claim.intent || signal.aborted) return;
  const bound = timeLimit(signal, deps.settings.settleTimeoutMs);
  try {
    const settlement = await rail.settle(claim.intent, bound);
    const { state } = await applySettlement(deps, claim.id, settlement, { runsNext: false });
    deps.log.info({ claimId: claim.id, settlement: settlement.kind, state }, 'reconciled a settlement');
  } catch (cause) {
    // One claim that cannot be finished must not keep the others waiting; it is due again later.
    deps.log.error({ err: cause, claimId: claim.id }, 'could not reconcile a settlement');
  }
}
