import type { RailName } from '../../../src/payments/index.ts';
import type { Random } from '../../e2e/rail-faults/storm/random.ts';
import { ALL_RAILS } from '../../harness/rail-lab.ts';
import type { StormOptions } from '../options.ts';

/** What breaks, and for how long. */
export type Fault =
  | { kind: 'kill-gateway'; place: number; downMs: number }
  /** SIGTERM amid its calls: it ends them, and itself with 0. */
  | { kind: 'end-gateway'; place: number; downMs: number }
  | { kind: 'kill-postgres' }
  /** One of its processes: the others end with it, and it recovers by itself. */
  | { kind: 'kill-backend' }
  /** SIGSTOP amid whatever they do, and SIGCONT: the others go on meanwhile. */
  | { kind: 'freeze-gateway'; place: number; forMs: number }
  | { kind: 'freeze-postgres'; forMs: number }
  | { kind: 'kill-jail'; place: number; which: number }
  | { kind: 'clock'; place: number; offsetMs: number }
  /** The time of what calls by key have set aside is up while they run. */
  | { kind: 'expire-holds' }
  /**
   * `refuse`: before anything took effect. `swallow`: it took effect and the answer is lost. `hold`: nothing is heard
   * until it is over, and then all of it.
   */
  | { kind: 'database'; fate: 'refuse' | 'swallow' | 'hold'; chance: number; forMs: number }
  | {
      kind: 'rail';
      rail: RailName;
      fate: 'refuse' | 'swallow';
      chance: number;
      forMs: number;
      times: number;
    };

export type FaultPlan = { at: number; fault: Fault };

const MINUTE_MS = 60_000;
/** Beyond it quotes of one gateway are of no use at another, and everything is only refused. */
const JUMP_MS_MAX = 15 * MINUTE_MS;
/** Before the first kill something has to be under way, and after the last one something has to be answered. */
const CALM_MS = 1_000;

/** More than a gateway is believed alive for, and than most of a storm may be without its database. */
const LONG_MS = 24_000;
const SHORT_MS = 6_000;

export function planFaults(options: StormOptions, random: Random): FaultPlan[] {
  const endMs = options.seconds * 1_000 - CALM_MS;
  const plan: FaultPlan[] = [];
  const every = (leastMs: number, mostMs: number, make: () => Fault) => {
    const own = random.fork();
    for (let at = CALM_MS + own.between(0, leastMs); at < endMs; at += own.between(leastMs, mostMs)) {
      plan.push({ at, fault: make() });
    }
  };
  const place = () => random.between(0, options.gateways - 1);
  const standstill = (longMs: number) =>
    options.seconds * 1_000 > longMs && random.isTrue(0.2)
      ? random.between(longMs / 2, longMs)
      : random.between(200, SHORT_MS / 2);
  if (options.hasKills) {
    every(2_500, 8_000, () => ({ kind: 'kill-gateway', place: place(), downMs: random.between(0, 2_000) }));
    every(6_000, 20_000, () => ({ kind: 'end-gateway', place: place(), downMs: random.between(0, 2_000) }));
    every(7_000, 25_000, () => (random.isTrue(0.6) ? { kind: 'kill-postgres' } : { kind: 'kill-backend' }));
    every(1_500, 5_000, () => ({
      ...{ kind: 'database', fate: random.pick(['refuse', 'swallow', 'swallow', 'hold'] as const) },
      ...{ chance: random.pick([0.03, 0.3]), forMs: random.between(200, 1_500) },
    }));
    every(4_000, 15_000, () => ({ kind: 'freeze-gateway', place: place(), forMs: standstill(LONG_MS) }));
    every(5_000, 20_000, () => ({ kind: 'freeze-postgres', forMs: standstill(SHORT_MS) }));
    every(500, 2_500, () => ({ kind: 'kill-jail', place: place(), which: random.between(0, 1_000) }));
  }
  if (options.hasClockJumps) {
    every(1_500, 6_000, () => {
      const offsetMs = random.isTrue(0.3) ? 0 : random.between(-JUMP_MS_MAX, JUMP_MS_MAX);
      return { kind: 'clock', place: place(), offsetMs };
    });
    every(1_000, 4_000, () => ({ kind: 'expire-holds' }));
  }
  for (const rail of options.hasRails ? ALL_RAILS : []) {
    every(2_000, 9_000, () => ({
      ...{ kind: 'rail', rail, fate: random.pick(['refuse', 'swallow'] as const) },
      ...{ chance: random.pick([0.3, 1]), forMs: random.between(200, 1_500), times: random.between(1, 8) },
    }));
  }
  return plan.sort((one, other) => one.at - other.at);
}
