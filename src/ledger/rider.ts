import type { Uuid } from '../core/ids.ts';

/**
 * Rows another domain writes in the very statement that charges, so that money and receipt are one commit.
 * `cte` is text without a leading WITH; the statement around it offers
 * `accepted(ord bigint, id uuid, bucket smallint, amount bigint, fee bigint)`, where `ord` counts the batch from 1.
 */
export type Rider<Item> = {
  /**
   * The CTEs, with their first parameter numbered `firstParameter`. With `whole` they are those of a statement that
   * accepts all calls of a batch or none; `ids` is an SQL expression for the array of their ids, in order.
   */
  cte(firstParameter: number, whole?: { ids: string }): string;
  /** Of the calls of a batch, in order; `shard` is theirs where charges are cut by shard. */
  parameters(calls: readonly RidingCall<Item>[], shard?: number): unknown[];
  /** Those of the CTEs with `whole`; undefined where it cannot ride on this batch as a whole. */
  wholeParameters(
    calls: readonly (RidingCall<Item> & { bucket: number; amount: bigint })[],
    shard?: number,
  ): unknown[] | undefined;
  /** An SQL expression over the CTEs: a text that tells what they wrote, or null when that is nothing. */
  readonly answer: string;
  /**
   * Told after the commit, with what was accepted in the order of the batch; never when the answer of the statement
   * got lost. Returns at once and does not throw: callers wait for their answers.
   */
  written(answer: string, accepted: readonly Accepted<Item>[]): void;
};

export type RidingCall<Item> = { id: Uuid; item: Item };
export type Accepted<Item> = { item: Item; id: Uuid; amount: bigint; fee: bigint };

/** SQL that lists the ids of the keys which may still spend, out of the array parameter of that number. */
export type KeyGuard = (parameter: number) => string;
