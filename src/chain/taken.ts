import { BlockNotFoundError } from 'viem';
import { getBlock, getTransactionCount } from 'viem/actions';
import type { WriterContext } from './broadcast.ts';
import { readFinalNumber } from './finality.ts';
import { recordDropped, type StoredTransaction } from './store.ts';

/**
 * Gives a transaction up that was mined once and never will be again: a reorganisation took its block out, and its
 * nonce went to one that is not ours. The caller found no receipt, which proves nothing here, because nodes forget old
 * ones: the block that it was in must be gone for good too. True when it was given up.
 */
export async function dropIfTaken(
  context: WriterContext,
  transaction: StoredTransaction,
  signal: AbortSignal,
): Promise<boolean> {
  const { client, sql, wallet, log } = context;
  const { blockNumber, blockHash, nonce, ref, hash } = transaction;
  if (blockNumber === null || blockHash === null) return false;
  const rpc = client.within(signal);
  const finalNumber = await readFinalNumber(client, signal);
  if (finalNumber < blockNumber) return false;
  const block = await getBlock(rpc, { blockNumber }).catch((error: unknown) => {
    if (error instanceof BlockNotFoundError) return undefined;
    throw error;
  });
  if (block === undefined || block.hash === blockHash) return false;
  const { address } = context.account;
  const finalCount = await getTransactionCount(rpc, { address, blockNumber: finalNumber });
  if (BigInt(finalCount) <= nonce) return false;
  await recordDropped(sql, wallet, transaction);
  log.warn(
    { ref, hash },
    'a reorganisation took it out, and its nonce went to a transaction that is not ours',
  );
  return true;
}
