import type { GatewayDeps } from '../gateway/index.ts';
import {
  acceptArrival,
  adoptOrphans,
  confirmSettlements,
  creditLateArrivals,
  creditStrays,
  noteOpenings,
  reconcileSettlements,
} from '../gateway/index.ts';
import { checkRunning, ensureEntryPartitions } from '../ledger/index.ts';
import type { Rail } from '../payments/index.ts';
import type { Job } from './loop.ts';
import { pruneHistory, pruneShortLived } from './prune.ts';

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;

/** Everything a gateway does without being asked. */
export function listJobs(deps: GatewayDeps): Job[] {
  return [
    { name: 'heartbeat', everyMs: 2 * SECOND_MS, run: () => beat(deps) },
    { name: 'adopt-orphans', everyMs: 5 * SECOND_MS, run: () => adoptOrphans(deps) },
    { name: 'credit-strays', everyMs: 30 * SECOND_MS, run: (signal) => creditStrays(deps, signal) },
    { name: 'note-openings', everyMs: MINUTE_MS, run: (signal) => noteOpenings(deps, signal) },
    { name: 'expire-holds', everyMs: 5 * SECOND_MS, run: () => deps.ledger.expireDue() },
    { name: 'seal-receipts', everyMs: SECOND_MS, run: () => deps.receipts.sealOpenBatches() },
    { name: 'log-receipts', everyMs: SECOND_MS, run: (signal) => deps.receipts.logReceipts(signal) },
    { name: 'exchange-rates', everyMs: 250, run: () => deps.traffic.exchange() },
    { name: 'prune-rates', everyMs: MINUTE_MS, run: () => deps.traffic.prune() },
    {
      name: 'make-partitions',
      everyMs: 60 * MINUTE_MS,
      run: () => ensureEntryPartitions(deps.sql, deps.clock.now()),
    },
    { name: 'check-ledger', everyMs: 10 * MINUTE_MS, run: () => checkBooks(deps) },
    { name: 'prune', everyMs: MINUTE_MS, run: (signal) => pruneShortLived(deps, signal) },
    { name: 'prune-history', everyMs: 60 * MINUTE_MS, run: (signal) => pruneHistory(deps, signal) },
    ...deps.rails.flatMap((rail) => [...settleRail(deps, rail), ...watchRail(deps, rail)]),
  ];
}

/** A rail has jobs of its own: while its node hangs, what is open on the others goes on. */
function settleRail(deps: GatewayDeps, rail: Rail): Job[] {
  const alone = () => ({ ...deps, rails: [rail] });
  const { name } = rail;
  return [
    {
      name: `reconcile-settlements-${name}`,
      everyMs: SECOND_MS,
      run: (signal) => reconcileSettlements(alone(), signal),
    },
    {
      name: `credit-late-arrivals-${name}`,
      everyMs: 30 * SECOND_MS,
      run: (signal) => creditLateArrivals(alone(), signal),
    },
    {
      name: `confirm-settlements-${name}`,
      everyMs: 15 * SECOND_MS,
      run: (signal) => confirmSettlements(alone(), signal),
    },
  ];
}

/** Rails on which money arrives by itself are watched for as long as the process runs. */
function watchRail(deps: GatewayDeps, rail: Rail): Job[] {
  const { name, watch } = rail;
  if (!watch) return [];
  const run = (signal: AbortSignal) => watch((arrival) => acceptArrival(deps, arrival), signal);
  return [{ name: `watch-${name}`, everyMs: SECOND_MS, run }];
}

async function beat(deps: GatewayDeps): Promise<void> {
  if (await deps.worker.beat()) return;
  // Another gateway believed us dead and took our claims over: none of those is finished here.
  deps.log.error({ worker: deps.worker.id }, 'this worker was declared gone, and goes on under a new id');
}

async function checkBooks(deps: GatewayDeps): Promise<void> {
  const check = await checkRunning(deps.sql);
  if (check.kind === 'elsewhere' || check.discrepancies.length === 0) return;
  deps.log.error({ discrepancies: check.discrepancies }, 'the books do not balance');
}
