import type { Clock } from '../../core/clock.ts';
import { invariant } from '../../core/invariant.ts';
import { type LimitName, SpendingLimitError } from './errors.ts';

/** What may be spent; whole units, and `perHour` within any sixty minutes. */
export type Limits = { perCall: bigint; perHour?: bigint | undefined; total?: bigint | undefined };

/** Budget that was taken before anything was signed, until it is known what became of it. */
export type Reservation = {
  /** What it came to. More than was reserved is booked as it is: it is spent already. */
  settle(amount: bigint): void;
  release(): void;
};

export type Budget = {
  readonly unit: 'mcents' | 'sat';
  /** The limit that this amount would break now. */
  judge(amount: bigint): SpendingLimitError | undefined;
  /** Checks and takes in one step, so that calls at the same time cannot take the same money twice. */
  reserve(amount: bigint): Reservation;
};

const MINUTE_MS = 60_000;
/** A window of whole minutes that is never shorter than an hour. */
const WINDOW_MINUTES = 61;

/** A budget in one unit. Reserved counts as spent until it is released. */
export function createBudget(deps: { limits: Limits; unit: 'mcents' | 'sat'; clock: Clock }): Budget {
  const { limits, unit, clock } = deps;
  for (const limit of [limits.perCall, limits.perHour ?? 0n, limits.total ?? 0n]) {
    if (limit < 0n) throw new RangeError('a limit is not negative');
  }
  const minutes = new Map<number, bigint>();
  let total = 0n;

  function book(minute: number, amount: bigint): void {
    total += amount;
    minutes.set(minute, (minutes.get(minute) ?? 0n) + amount);
    invariant(total >= 0n, 'a budget gave back more than was taken');
  }

  function sumOfHour(): bigint {
    const oldest = toMinute(clock.now()) - WINDOW_MINUTES + 1;
    let sum = 0n;
    for (const [minute, amount] of minutes) {
      if (minute < oldest) minutes.delete(minute);
      else sum += amount;
    }
    return sum;
  }

  function judge(amount: bigint): SpendingLimitError | undefined {
    invariant(amount >= 0n, 'a payment is not negative');
    const left: [LimitName, bigint][] = [['per-call', limits.perCall]];
    if (limits.perHour !== undefined) left.push(['per-hour', limits.perHour - sumOfHour()]);
    if (limits.total !== undefined) left.push(['total', limits.total - total]);
    const broken = left.find(([, available]) => amount > available);
    if (!broken) return undefined;
    const [limit, available] = broken;
    return new SpendingLimitError({ limit, amount, available: available > 0n ? available : 0n, unit });
  }

  return {
    unit,
    judge,
    reserve(amount) {
      const refusal = judge(amount);
      if (refusal) throw refusal;
      const minute = toMinute(clock.now());
      book(minute, amount);
      let booked = amount;
      const change = (to: bigint) => {
        // What fell out of the window is forgotten there, and still counts in total.
        if (minutes.has(minute)) book(minute, to - booked);
        else total += to - booked;
        booked = to;
      };
      return { settle: change, release: () => change(0n) };
    },
  };
}

function toMinute(date: Date): number {
  return Math.floor(date.getTime() / MINUTE_MS);
}
