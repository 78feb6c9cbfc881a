import type { Millicents } from '../../core/money.ts';

/** A payment that reached us and that no claim of ours names. */
export type StrayPayment = {
  claimKey: string;
  payer: string;
  unit: string;
  units: bigint;
  /** What it is worth to us, rounded down. */
  amount: Millicents;
  reference: string;
};

/** One step through what arrived; `cursor` is stored once its payments are booked. */
export type StrayPage = { payments: StrayPayment[]; cursor: bigint; isCaughtUp: boolean };

/** A place where money may arrive without us being told, looked through from one end to the other. */
export type StraySource = {
  /** Names its cursor, and never changes. */
  readonly name: string;
  /** Only what is final. Throws when it cannot tell; asked again with the same cursor. */
  findStrayPayments(
    input: {
      sinceBlock: bigint | undefined;
      isClaimed(claimKeys: readonly string[]): Promise<ReadonlySet<string>>;
    },
    signal: AbortSignal,
  ): Promise<StrayPage>;
};
