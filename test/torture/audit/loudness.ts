import { outcomeOf } from '../model/model.ts';
import type { FaultPlan } from '../plan/faults.ts';
import type { Plan } from '../plan/plan.ts';
import type { Storm } from '../storm.ts';
import { tell, type Violation } from './violation.ts';

/** Of the calls that were made, at least this many of a hundred have to have been delivered and charged. */
const CHARGED_PERCENT_MIN = 20;
/** Each rail has to have been paid on for something that was delivered once in so many seconds. */
const SECONDS_A_PAYMENT_BY_RAIL = 15;
/** All of them together, once in so many. */
const SECONDS_A_PAYMENT = 3;

type Input = { plan: Plan; isDatabaseOurs: boolean };

/** A storm in which little is delivered, or nothing breaks, shows nothing: that is a fault of its own. */
export function auditLoudness(storm: Storm, { plan, isDatabaseOurs }: Input): Violation[] {
  const { options } = storm.world;
  const calls = [...storm.model.calls.values()];
  const charged = calls.filter((call) => outcomeOf(call).kind === 'charged').length;
  const needed = Math.max(options.seconds, Math.ceil((calls.length * CHARGED_PERCENT_MIN) / 100));
  const delivered = options.hasRails ? countDelivered(storm) : [];
  const byRailMin = Math.floor(options.seconds / SECONDS_A_PAYMENT_BY_RAIL);
  const paymentsMin = options.hasRails ? Math.ceil(options.seconds / SECONDS_A_PAYMENT) : 0;
  const payments = delivered.reduce((sum, { times }) => sum + times, 0);
  const quiet = [
    ...(charged < needed
      ? [`${charged} calls by key were charged, of ${calls.length}; at least ${needed} have to be`]
      : []),
    ...delivered
      .filter(({ times }) => times < byRailMin)
      .map(
        ({ rail, times }) => `${times} payments by ${rail} were delivered; at least ${byRailMin} have to be`,
      ),
    ...(payments < paymentsMin
      ? [`${payments} payments were delivered; at least ${paymentsMin} have to be`]
      : []),
    ...listUnfired(storm, plan.faults, isDatabaseOurs),
  ];
  return tell('too-quiet', quiet, (text) => text);
}

function countDelivered({ counts }: Storm): { rail: string; times: number }[] {
  const rails = ['evm', 'tempo', 'lightning', 'stripe'];
  return rails.map((rail) => {
    const own = counts.list().filter(([what]) => what.startsWith(`payments in the end: ${rail}`));
    const times = own.reduce((sum, [what, count]) => sum + (what.endsWith(' delivered') ? count : 0), 0);
    return { rail, times };
  });
}

const KILLS: readonly { kinds: readonly FaultPlan['fault']['kind'][]; counted: readonly string[] }[] = [
  { kinds: ['kill-gateway'], counted: ['gateway killed'] },
  { kinds: ['kill-postgres', 'kill-backend'], counted: ['Postgres killed', 'process of Postgres killed'] },
  { kinds: ['kill-jail'], counted: ['jail killed'] },
];

/** Kinds of kills that were planned, and of which not one happened. */
function listUnfired({ counts }: Storm, faults: readonly FaultPlan[], isDatabaseOurs: boolean): string[] {
  return KILLS.flatMap(({ kinds, counted }) => {
    if (!isDatabaseOurs && kinds.includes('kill-postgres')) return [];
    const planned = faults.filter(({ fault }) => kinds.includes(fault.kind)).length;
    const fired = counted.reduce((sum, what) => sum + counts.of(`faults: ${what}`), 0);
    return planned > 0 && fired === 0 ? [`${kinds.join(' and ')}: none of ${planned} happened`] : [];
  });
}
