import { randomBytes } from 'node:crypto';
import { bucketOf, type Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Tx } from '../../db/index.ts';
import type { Accepted, Rider } from '../../ledger/index.ts';
import type { FreshBatches } from './fresh.ts';
import type { ReceiptFacts } from './leaves.ts';
import type { ReceiptDraft } from './receipt.ts';
import {
  insertReceipt,
  type Lane,
  RECEIPT_ANSWER,
  receiptCte,
  receiptParameters,
  wholeReceiptParameters,
} from './store.ts';

/** A new lane: one gateway process from its start to its end. */
export function newLane(): string {
  return randomBytes(8).toString('hex');
}

/**
 * Writes the receipts of a batch in the statement that charges it, so that money and receipt are one commit
 * and a batch that rolls back leaves no gap. Free calls and `null` drafts (a tool of the gateway itself)
 * get no receipt. `null`, so that a draft keeps its place in the batch.
 */
export function createReceiptRider(deps: {
  lane: string;
  fresh?: Pick<FreshBatches, 'add'>;
}): Rider<ReceiptDraft | null> {
  return {
    cte: receiptCte,
    parameters: (calls, shard) => receiptParameters(laneOf(deps.lane, shard), calls),
    wholeParameters: (calls, shard) => wholeReceiptParameters(laneOf(deps.lane, shard), calls),
    answer: RECEIPT_ANSWER,
    written(answer, accepted) {
      const batch = deps.fresh && readWritten(answer, accepted);
      if (batch) deps.fresh?.add(batch.id, batch.receipts);
    },
  };
}

const WRITTEN = /^(\S+) (\d+) (\d+) (\S+) (.*)$/s;

/**
 * The receipts that the statement wrote, in leaf order; undefined where they cannot be told from here: when an answer
 * is missing, or a text was not stored as it was sent.
 */
export function readWritten(
  answer: string,
  accepted: readonly Accepted<ReceiptDraft | null>[],
): { id: Uuid; receipts: ReceiptFacts[] } | undefined {
  const [, id, leafCount, issuedAt, lastSeqs, lane] = WRITTEN.exec(answer) ?? [];
  if (id === undefined || lastSeqs === undefined || lane === undefined) return undefined;
  const seqs = readLastSeqs(lastSeqs);
  const receipts: ReceiptFacts[] = [];
  // From the last one on, as the lanes say what number that has.
  for (const { item: draft, id, amount: price, fee } of accepted.toReversed()) {
    if (draft === null || price <= 0n) continue;
    const seq = seqs.get(draft.toolId);
    if (seq === undefined || !isStoredAsSent(draft)) return undefined;
    seqs.set(draft.toolId, seq - 1n);
    receipts.push({ id, draft, lane, seq, price, fee, issuedAtSeconds: Number(issuedAt) });
  }
  return receipts.length === Number(leafCount) ? { id, receipts: receipts.reverse() } : undefined;
}

function readLastSeqs(text: string): Map<Uuid, bigint> {
  const pairs = text.split(',').map((pair): [Uuid, bigint] => {
    const [toolId = '', lastSeq = '0'] = pair.split(':');
    return [toolId, BigInt(lastSeq)];
  });
  return new Map(pairs);
}

/** Half of a surrogate pair is stored as something else. */
function isStoredAsSent({ toolName, payer, rail, paymentRef }: ReceiptDraft): boolean {
  return toolName.isWellFormed() && payer.isWellFormed() && rail.isWellFormed() && paymentRef.isWellFormed();
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
