import { sha256Hex } from '../../core/bytes.ts';
import type { Reservation } from './budget.ts';
import { RequestRefusedError } from './errors.ts';
import type { PaymentHeader } from './payer.ts';
import type { Outgoing } from './send.ts';
import type { Spend } from './spending.ts';

/** What one logical call has signed: sent again as often as needed, and never made anew. */
export type Payment = {
  /** Undefined when the payer failed after money may have moved; then `cause` says why. */
  header: PaymentHeader | undefined;
  cause: unknown;
  question: PaymentHeader | undefined;
  movesMoney: boolean;
  /** What the challenge answered: where a redirect led, if there was one. */
  target: { url: URL; method: string; hasBody: boolean };
  amount: bigint;
  reservation: Reservation;
  spend: Spend;
};

/** A call as its maker means it, however often it is tried. */
export type LogicalCall = {
  idempotencyKey: string;
  payment: Payment | undefined;
  /** What it cost when a bearer key paid. */
  byKey: { reservation: Reservation; spend: Spend } | undefined;
};

export type LogicalCalls = {
  /**
   * Runs one try; tries of the same logical call wait for each other. A call that its maker did not name is
   * remembered only while its outcome is unknown.
   */
  run<T>(
    name: { idempotencyKey: string; isGiven: boolean },
    outgoing: Outgoing,
    work: (call: LogicalCall) => Promise<T>,
  ): Promise<T>;
};

type Entry = { call: LogicalCall; digest: string; last: Promise<unknown>; running: number };

/** Remembers what calls have signed, for the latest `callsMax` of them. */
export function createLogicalCalls(callsMax: number): LogicalCalls {
  const entries = new Map<string, Entry>();

  function open(idempotencyKey: string, outgoing: Outgoing): Entry {
    const digest = sha256Hex(`${outgoing.method} ${outgoing.url.href}\n`, outgoing.body ?? '');
    const known = entries.get(idempotencyKey);
    if (known && known.digest !== digest) {
      throw new RequestRefusedError(
        'idempotency-key-reused',
        `the idempotency key ${idempotencyKey} belongs to another request`,
      );
    }
    const entry = known ?? {
      ...{ call: { idempotencyKey, payment: undefined, byKey: undefined }, digest },
      ...{ last: Promise.resolve(), running: 0 },
    };
    entries.set(idempotencyKey, entry);
    return entry;
  }

  /** The oldest that nobody waits for, those with an open outcome last. */
  function forget(): void {
    if (entries.size <= callsMax) return;
    const idle = [...entries].filter(([, entry]) => entry.running === 0);
    const settled = idle.find(([, { call }]) => !isOpen(call));
    const [oldest] = settled ?? idle[0] ?? [];
    if (oldest !== undefined) entries.delete(oldest);
  }

  return {
    async run({ idempotencyKey, isGiven }, outgoing, work) {
      const entry = open(idempotencyKey, outgoing);
      entry.running += 1;
      const turn = entry.last.then(() => work(entry.call));
      // Who waits next waits for the end, good or bad.
      entry.last = turn.catch(() => undefined);
      try {
        return await turn;
      } finally {
        entry.running -= 1;
        if (!isGiven && entry.running === 0 && !isOpen(entry.call)) entries.delete(idempotencyKey);
        forget();
      }
    },
  };
}

function isOpen({ payment, byKey }: LogicalCall): boolean {
  return [payment, byKey].some((paid) => paid?.spend.state === 'unknown');
}
