import type { RailName } from './payer.ts';

/**
 * `pending`: under way. `spent`: the server confirmed it. `returned`: it cost nothing. `unknown`: money may
 * have moved; it counts as spent until the same call, made again, finds out.
 */
export type SpendState = 'pending' | 'spent' | 'returned' | 'unknown';

/** What one logical call cost. */
export type Spend = {
  /** Names the logical call: calling again with it sends the same credential. */
  idempotencyKey: string;
  url: string;
  rail: RailName | 'key';
  state: SpendState;
  /** Native units, of `unit` (CAIP-19 of a token, `sat`, `usd-cents`, `mcents`). */
  units: bigint;
  unit: string;
  /** In millicents; undefined for Lightning without a rate. */
  mcents: bigint | undefined;
  /** Transaction hash, payment hash or charge id, from `PAYMENT-RESPONSE` or `Payment-Receipt`. */
  reference: string | undefined;
  receiptId: string | undefined;
  /** The signed receipt, a compact JWS. */
  receipt: string | undefined;
  startedAt: Date;
};

/** What has been spent so far. Sums count `spent`, `pending` and `unknown`: what the limits count. */
export type Spending = {
  mcents: bigint;
  /** Lightning that was paid without a rate. */
  sats: bigint;
  /** Of these, how much nobody knows about. */
  unknownMcents: bigint;
  byRail: Record<RailName | 'key', bigint>;
  /** The latest calls that paid or tried to, oldest first. */
  calls: Spend[];
};

const CALLS_KEPT = 1_000;

export type SpendLog = { add(spend: Spend): void; report(): Spending };

/** Keeps the sums of everything, and the latest calls one by one. */
export function createSpendLog(): SpendLog {
  const calls: Spend[] = [];
  const dropped: Spend[] = [];
  let folded = sum([]);
  return {
    add(spend) {
      calls.push(spend);
      if (calls.length <= CALLS_KEPT) return;
      dropped.push(...calls.splice(0, calls.length - CALLS_KEPT));
      // A call that may still change is folded in once it does not.
      const settled = dropped.filter(isFinal);
      folded = merge(folded, sum(settled));
      dropped.splice(0, dropped.length, ...dropped.filter((other) => !isFinal(other)));
    },
    report() {
      const sums = merge(folded, merge(sum(dropped), sum(calls)));
      return { ...sums, calls: calls.map((spend) => ({ ...spend })) };
    },
  };
}

type Sums = Omit<Spending, 'calls'>;

function isFinal(spend: Spend): boolean {
  return spend.state === 'spent' || spend.state === 'returned';
}

function sum(calls: readonly Spend[]): Sums {
  const sums: Sums = {
    ...{ mcents: 0n, sats: 0n, unknownMcents: 0n },
    byRail: { evm: 0n, tempo: 0n, lightning: 0n, stripe: 0n, key: 0n },
  };
  for (const { state, mcents, units, rail } of calls) {
    if (state === 'returned') continue;
    if (mcents === undefined) {
      sums.sats += units;
      continue;
    }
    sums.mcents += mcents;
    sums.byRail[rail] += mcents;
    if (state === 'unknown') sums.unknownMcents += mcents;
  }
  return sums;
}

function merge(one: Sums, other: Sums): Sums {
  const { evm, tempo, lightning, stripe, key } = one.byRail;
  return {
    mcents: one.mcents + other.mcents,
    sats: one.sats + other.sats,
    unknownMcents: one.unknownMcents + other.unknownMcents,
    byRail: {
      evm: evm + other.byRail.evm,
      tempo: tempo + other.byRail.tempo,
      lightning: lightning + other.byRail.lightning,
      stripe: stripe + other.byRail.stripe,
      key: key + other.byRail.key,
    },
  };
}
