import { type Hex, type TransactionReceipt, TransactionReceiptNotFoundError } from 'viem';
import { getBlockNumber, getTransactionReceipt } from 'viem/actions';
import type { ChainClient } from './client.ts';
import { isDeepEnough } from './finality.ts';
import type { WriteOutcome } from './outcome.ts';
import type { StoredReceipt } from './store.ts';

/** A receipt in the two shapes it is needed in. */
export type Receipt = { stored: StoredReceipt; outcome: Exclude<WriteOutcome, { kind: 'unknown' }> };

/** The receipt of whichever of a transaction's signings was mined. */
export async function readReceiptOf(
  deps: { client: ChainClient; confirmations: number },
  transaction: { hash: string; earlierHashes: readonly string[] },
  signal: AbortSignal,
): Promise<Receipt | undefined> {
  for (const hash of [transaction.hash, ...transaction.earlierHashes.toReversed()]) {
    const receipt = await readReceipt(deps, `0x${hash.slice(2)}`, signal);
    if (receipt !== undefined) return receipt;
  }
  return undefined;
}

/** The receipt of a transaction; undefined while it is not mined, or not deep enough. */
export async function readReceipt(
  deps: { client: ChainClient; confirmations: number },
  hash: Hex,
  signal: AbortSignal,
): Promise<Receipt | undefined> {
  const rpc = deps.client.within(signal);
  const receipt = await getTransactionReceipt(rpc, { hash }).catch((error: unknown) => {
    if (error instanceof TransactionReceiptNotFoundError) return undefined;
    throw error;
  });
  if (receipt === undefined) return undefined;
  const { blockNumber } = receipt;
  const { confirmations } = deps;
  if (confirmations > 1 && !isDeepEnough({ blockNumber, latest: await getBlockNumber(rpc), confirmations })) {
    return undefined;
  }
  return toReceipt(receipt);
}

function toReceipt(receipt: TransactionReceipt): Receipt {
  const parentFee = readParentFee(receipt);
  const { gasUsed, effectiveGasPrice, blockNumber, blockHash } = receipt;
  const state = receipt.status === 'success' ? 'mined' : 'reverted';
  const facts = {
    hash: receipt.transactionHash,
    blockNumber,
    gasUsed,
    effectiveGasPrice,
    feeWei: gasUsed * effectiveGasPrice + parentFee,
  };
  return {
    stored: { state, gasUsed, effectiveGasPrice, parentFee, blockNumber, blockHash },
    outcome: state === 'mined' ? { kind: state, logs: receipt.logs, ...facts } : { kind: state, ...facts },
  };
}

/** OP-stack rollups charge the wallet for their data on the parent chain and say so in `l1Fee`. */
function readParentFee(receipt: object): bigint {
  const fee = 'l1Fee' in receipt ? receipt.l1Fee : undefined;
  if (typeof fee === 'bigint') return fee;
  return typeof fee === 'string' && /^0x[0-9a-f]{1,32}$/i.test(fee) ? BigInt(fee) : 0n;
}
