import { invariant } from '../../../core/invariant.ts';
import { encodeTlogProof } from '../../log/tlog-proof.ts';
import type { TransparencyLog } from '../../log/transparency-log.ts';
import { leafHashOf, verifyInclusion } from '../../merkle/merkle.ts';
import type { ReceiptPayload } from '../receipt.ts';
import { commitTo, encodeCommitment } from './commitment.ts';
import type { OpeningRow } from './store.ts';

/** A receipt's place in the receipts log, and what opens its commitment there. */
export type LoggedReceipt = {
  origin: string;
  index: number;
  /** The entry as it stands in the log. */
  entry: string;
  /** Hex. Known to who has the receipt and to the publisher, and to nobody else. */
  salt: string;
  /** A C2SP tlog-proof under the newest checkpoint. */
  proof: string;
};

/** As much of the receipts log as receipts need. */
export type ReceiptsLog = Pick<
  TransparencyLog,
  'origin' | 'appendWritten' | 'findCheckpoint' | 'proveInclusion'
>;

/** Undefined while no checkpoint covers the receipt: the next one does. */
export async function proveLogged(
  log: ReceiptsLog,
  payload: ReceiptPayload,
  opening: OpeningRow,
): Promise<LoggedReceipt | undefined> {
  const index = Number(opening.leafIndex);
  const checkpoint = await log.findCheckpoint();
  if (!checkpoint || checkpoint.treeSize <= index) return undefined;
  const entry = encodeCommitment(commitTo(payload, opening.salt));
  const { treeSize, note } = checkpoint;
  const path = await log.proveInclusion({ leafIndex: index, treeSize });
  const claim = { index, treeSize, leafHash: leafHashOf(entry), path, root: checkpoint.root };
  invariant(verifyInclusion(claim), `receipt ${payload.jti} is not what was logged`);
  return {
    origin: log.origin,
    index,
    entry: entry.toString('ascii'),
    salt: opening.salt.toString('hex'),
    proof: encodeTlogProof({ index, path, checkpoint: note }),
  };
}
