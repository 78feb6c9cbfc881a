import { randomBytes } from 'node:crypto';
import { bucketOf, type Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Tx } from '../../db/index.ts';
import type { Rider } from '../../ledger/index.ts';
import type { ReceiptDraft } from './receipt.ts';
import { insertReceipt, type Lane, receiptCte, receiptParameters } from './store.ts';

/** A new lane: one gateway process from its start to its end. */
export function newLane(): string {
  return randomBytes(8).toString('hex');
}

/**
 * Writes the receipts of a batch in the statement that charges it, so that money and receipt are one commit
 * and a batch that rolls back leaves no gap. Free calls and `null` drafts (a tool of the gateway itself)
 * get no receipt. `null`, so that a draft keeps its place in the batch.
 */
export function createReceiptRider(deps: { lane: string }): Rider<ReceiptDraft | null> {
  return {
    cte: receiptCte,
    parameters: (drafts, shard) => receiptParameters(laneOf(deps.lane, shard), drafts),
  };
}

/** Where charges are cut by shard each shard counts on a lane of its own, as no two of them share a statement. */
function laneOf(lane: string, shard: number | undefined): Lane {
  return shard === undefined ? { name: lane, bucket: 0 } : { name: `${lane}.${shard}`, bucket: shard };
}

export type ReceiptToAppend = ReceiptDraft & {
  id: Uuid;
  /** The payer's, whose bucket the receipt is in. */
  accountId: Uuid;
  lane: string;
  /** Whether charges are cut by shard. */
  isCut?: boolean;
  price: bigint;
  fee: bigint;
};

/**
 * Writes the receipt of one call that a credential paid, in the transaction that captures it: after the
 * ledger, because the lane stays locked until the commit. The same call again answers its first receipt.
 */
export async function appendReceipt(
  tx: Tx,
  input: ReceiptToAppend,
): Promise<{ seq: bigint; issuedAt: Date }> {
  invariant(input.price > 0n, 'a free call has no receipt');
  const bucket = bucketOf(input.accountId);
  return insertReceipt(tx, { ...input, bucket, lane: laneOf(input.lane, input.isCut ? bucket : undefined) });
}
