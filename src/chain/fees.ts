import { estimateMaxPriorityFeePerGas, getBlock } from 'viem/actions';
import { invariant } from '../core/invariant.ts';
import type { ChainClient } from './client.ts';

/** The fee fields of an EIP-1559 transaction, wei per gas. */
export type Fees = { maxFeePerGas: bigint; maxPriorityFeePerGas: bigint };

/** The base fee can rise by an eighth a block: twice of it lasts six full blocks. */
const BASE_FEE_HEADROOM = 2n;

/** What a transaction signed now should offer; what it does not need of it is not charged. */
export async function readFees(client: ChainClient, signal: AbortSignal): Promise<Fees> {
  const rpc = client.within(signal);
  const [block, maxPriorityFeePerGas] = await Promise.all([
    getBlock(rpc, { blockTag: 'latest' }),
    estimateMaxPriorityFeePerGas(rpc),
  ]);
  invariant(block.baseFeePerGas !== null, 'the chain has no base fee (EIP-1559)');
  return {
    maxFeePerGas: block.baseFeePerGas * BASE_FEE_HEADROOM + maxPriorityFeePerGas,
    maxPriorityFeePerGas,
  };
}
