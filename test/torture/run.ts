import { setTimeout as sleep } from 'node:timers/promises';
import { type Holdings, readHoldings } from '../e2e/rail-faults/storm/audit.ts';
import { connectGateway } from '../harness/gateway.ts';
import { askAgain, isOpen, makeCall } from './actors/calls.ts';
import { breakThings, mend } from './actors/faults.ts';
import { changeKey } from './actors/keys.ts';
import { makePayment, openWallets } from './actors/payments.ts';
import { auditBooks, auditLeftovers } from './audit/books.ts';
import { auditBalances, auditCalls, auditTold, readCharges } from './audit/calls.ts';
import { auditCredit } from './audit/credit.ts';
import { auditLoudness } from './audit/loudness.ts';
import { auditRails, endPayments } from './audit/rails.ts';
import { auditReceipts, auditSignatures } from './audit/receipts.ts';
import { auditShares } from './audit/shares.ts';
import { tell, type Violation } from './audit/violation.ts';
import { createCounts } from './counts.ts';
import { outcomeOf } from './model/model.ts';
import type { StormOptions } from './options.ts';
import { createPlan, type Deed, type Plan } from './plan/plan.ts';
import { probeDrain } from './probes/drain.ts';
import { probeExposure } from './probes/exposure.ts';
import { probeForgers } from './probes/forgers.ts';
import { probeFrozen } from './probes/frozen.ts';
import { probeLeavers } from './probes/leavers.ts';
import { probeLetGo } from './probes/let-go.ts';
import { probeLostCaptures } from './probes/lost-captures.ts';
import { auditMisuse } from './probes/misuse.ts';
import { probePaused } from './probes/paused.ts';
import { probeReorg } from './probes/reorg.ts';
import { probeRotations } from './probes/rotations.ts';
import { auditStrangers } from './probes/strangers.ts';
import { auditToldBalances } from './probes/told-balances.ts';
import { probeUnheard } from './probes/unheard.ts';
import type { Storm } from './storm.ts';
import { createWire } from './world/http.ts';
import { openAccounts } from './world/open.ts';
import type { StormPostgres } from './world/postgres.ts';
import { openShops } from './world/shops.ts';
import { PUBLIC_URL, startWorld } from './world/world.ts';

/** What a storm came to. */
export type Report = {
  options: StormOptions;
  counts: [what: string, times: number][];
  violations: Violation[];
};

/** Actors: each does one thing after the other, so that a slow machine is asked for less and not for all at once. */
const LANES = 64;
const ASKED_AT_ONCE = 16;
/** A slow machine gets this much longer for what is planned; what it has not begun by then is left out. */
const LATE_MS_MAX = 45_000;
const LATE_SHARE = 2;
const QUIET_MS = 90_000;
/** What did not come to rest in all that time is waited for no longer than this. */
const RESTLESS_MS = 20_000;
/** Nor is what does not move at all: rails confirm and settle within seconds, and pauses are cut short. */
const STILL_MS_MAX = 30_000;

/** Starts everything, lets the storm go over it, mends it, and holds all that is known against all that is stored. */
export async function runStorm(
  options: StormOptions,
  given?: Pick<StormPostgres, 'url' | 'sql'>,
): Promise<Report> {
  const beganAt = performance.now();
  const plan = createPlan(options);
  const world = await startWorld(options, given);
  const wire = createWire();
  try {
    const first = connectGateway(world.fleet.at(0)?.url ?? '');
    const shops = await openShops(first, { ...options, sql: world.postgres.sql });
    const model = await openAccounts(world, plan.accounts);
    const { hasRails } = options;
    const wallets = hasRails ? await openWallets(world.lab) : [];
    const before = hasRails ? await readHoldings(world.lab) : undefined;
    const parts = {
      world,
      wire,
      model,
      shops,
      wallets,
      attempts: [],
      broadcasts: new Map(),
      counts: createCounts(),
    };
    const storm: Storm = parts;
    const timed = async <T>(what: string, work: () => Promise<T>) => {
      const startedAt = performance.now();
      const value = await work();
      storm.counts.add(`seconds: ${what}`, Math.round((performance.now() - startedAt) / 1_000));
      return value;
    };
    storm.counts.add('seconds: starting', Math.round((performance.now() - beganAt) / 1_000));
    await timed('sending', () => unleash(storm, plan));
    mend(storm);
    const violations = await timed('coming to rest', () => comeToRest(storm));
    violations.push(...(await timed('auditing', () => audit(storm, before))));
    countOutcomes(storm);
    violations.push(...auditLoudness(storm, { plan, isDatabaseOurs: given === undefined }));
    return { options, counts: storm.counts.list(), violations };
  } finally {
    await wire.close();
    await world.close();
  }
}

async function unleash(storm: Storm, plan: Plan): Promise<void> {
  const { seconds } = storm.world.options;
  const startedAt = performance.now();
  const over = AbortSignal.timeout(seconds * 1_000 + Math.min(LATE_MS_MAX, LATE_SHARE * seconds * 1_000));
  const queue = [...plan.deeds].reverse();
  const live = async () => {
    for (let deed = queue.pop(); deed && !over.aborted; deed = queue.pop()) {
      await sleep(Math.max(0, startedAt + deed.at - performance.now()));
      await act(storm, deed);
    }
  };
  const lanes = Array.from({ length: LANES }, live);
  await Promise.all([breakThings(storm, plan.faults, over), ...lanes]);
  storm.counts.add('deeds planned', plan.deeds.length);
  storm.counts.add('deeds left for want of time', queue.length);
}

function act(storm: Storm, deed: Deed): Promise<void> {
  switch (deed.kind) {
    case 'call':
      return makeCall(storm, deed);
    case 'pay':
      return makePayment(storm, deed);
    case 'revoke':
    case 'rotate':
      return changeKey(storm, deed);
    default:
      return deed satisfies never;
  }
}

/** All gateways in order and new ones in their places; then everybody asks once more for what they do not know. */
async function comeToRest(storm: Storm): Promise<Violation[]> {
  const unclean = await storm.world.fleet.renew();
  // Nobody has asked again: what was under way is ended by the gateways alone.
  const isQuiet = await untilQuiet(storm, QUIET_MS);
  const restless = isQuiet ? [] : await listOpen(storm);
  const open = [...storm.model.calls.values()].filter(isOpen);
  for (let done = 0; done < open.length; done += ASKED_AT_ONCE) {
    const some = open.slice(done, done + ASKED_AT_ONCE);
    await Promise.all(some.map((call, index) => askAgain(storm, call, index % storm.world.options.gateways)));
  }
  await untilQuiet(storm, isQuiet ? QUIET_MS : RESTLESS_MS);
  return [
    ...tell('unclean-stop', unclean, (said) => said),
    ...tell('never-at-rest', restless, ({ what, count }) => `${count} ${what}`),
    ...tell('gateway-died', storm.world.fleet.deaths, (said) => said),
  ];
}

/**
 * Until nothing is open, or for so long: what is left then is the audit's to tell. Holds that a killed gateway left
 * expire minutes from now, and nobody waits for that: their time is up at once, and the gateways' own job has to see it.
 */
async function untilQuiet({ world }: Pick<Storm, 'world'>, maxMs: number): Promise<boolean> {
  const { sql } = world.postgres;
  // A mutant may never come to rest, and what is left open is what it is caught by.
  const deadline = performance.now() + (world.options.mutant === undefined ? maxMs : RESTLESS_MS);
  let last = { count: -1n, since: 0 };
  for (;;) {
    await sql`UPDATE ledger_hold SET expires_at = now() WHERE state = 'held' AND backing = 'balance'
      AND NOT EXISTS (SELECT FROM payment_claim c WHERE c.id = ledger_hold.id AND c.state IN ('running', 'settling'))`;
    // Nor for the pause that a rail is given after several failures.
    await sql`UPDATE payment_claim SET next_attempt_at = now() WHERE state = 'settling'
      AND next_attempt_at > now() + interval '3 seconds' AND next_attempt_at < now() + interval '70 seconds'`;
    const open = (await listOpen({ world })).reduce((sum, { count }) => sum + count, 0n);
    if (open === 0n) return true;
    if (open !== last.count) last = { count: open, since: performance.now() };
    if (performance.now() > Math.min(deadline, last.since + STILL_MS_MAX)) return false;
    await sleep(500);
  }
}

type Open = { what: string; count: bigint };

/** What is under way, by what it is. */
function listOpen({ world }: Pick<Storm, 'world'>): Promise<Open[]> {
  return world.postgres.sql<Open[]>`
    SELECT what, count(*) FROM (
      SELECT 'holds' AS what FROM ledger_hold WHERE state = 'held'
      UNION ALL SELECT state || ' ' || purpose || ' by ' || coalesce(rail, 'key') FROM payment_claim
        WHERE state IN ('running', 'settling')
      UNION ALL SELECT 'answers that nobody gave or owes' FROM payment_claim
        WHERE rail IS NOT NULL AND (state = 'delivered' OR attached_to IS NOT NULL) AND answer_state = 'waiting'
      UNION ALL SELECT 'batches of receipts without a signature' FROM receipt_batch WHERE signed_at IS NULL) open
    GROUP BY 1 ORDER BY 1`;
}

async function audit(storm: Storm, before: Holdings | undefined): Promise<Violation[]> {
  const { sql } = storm.world.postgres;
  // In this process, so that what its jobs do once in a while is done now.
  const auditor = before && (await storm.world.lab.start({ publicUrl: PUBLIC_URL }));
  const probed = auditor ? await probePayments(storm) : [];
  const { endings, broken } = auditor ? await endPayments(storm, auditor) : { endings: [], broken: [] };
  const misused = await auditMisuse(storm, auditor && { auditor, endings });
  const strange = auditor ? await auditStrangers(storm, { auditor, endings }) : [];
  const told = await auditToldBalances(storm);
  await probeRotations(storm);
  await probeLostCaptures(storm);
  await untilQuiet(storm, RESTLESS_MS);
  const charges = await readCharges(sql);
  return [
    ...probed,
    ...broken,
    ...misused,
    ...strange,
    ...told,
    ...(auditor && before ? await auditRails(storm, { auditor, endings, before, charges }) : []),
    ...(auditor ? await auditCredit(storm, { auditor, endings }) : []),
    ...(await auditBooks(sql)),
    ...(await auditLeftovers(sql)),
    ...(await auditReceipts(sql)),
    ...auditCalls(storm, charges),
    ...(await auditBalances(storm, charges)),
    ...(await auditTold(storm, charges)),
    ...(await auditShares(storm, charges)),
    ...(await auditSignatures(storm)),
  ];
}

/** What is asked for and paid here comes to its end with all other payments. */
async function probePayments(storm: Storm): Promise<Violation[]> {
  const broken = [
    ...(await probeLetGo(storm)),
    ...(await probeLeavers(storm)),
    ...(await probeUnheard(storm)),
    ...(await probePaused(storm)),
    ...(await probeExposure(storm)),
    ...(await probeForgers(storm)),
    ...(await probeFrozen(storm)),
    ...(await probeDrain(storm)),
  ];
  await probeReorg(storm);
  return broken;
}

function countOutcomes({ model, counts }: Storm): void {
  for (const call of model.calls.values()) {
    counts.add(`calls in the end: ${outcomeOf(call).kind}`);
    if (call.verdicts.some(({ kind }) => kind === 'unknown'))
      counts.add('calls with an unknown outcome at first');
  }
}
