import { estimateMaxPriorityFeePerGas, getBlock } from 'viem/actions';
import { invariant } from '../core/invariant.ts';
import type { ChainClient } from './client.ts';

/** The fee fields of an EIP-1559 transaction, wei per gas. */
export type Fees = { maxFeePerGas: bigint; maxPriorityFeePerGas: bigint };

/** The base fee can rise by an eighth a block: twice of it lasts six full blocks. */
const BASE_FEE_HEADROOM = 2n;

/** No transaction is signed now: its gas would cost more than the operator allows. */
export class FeesTooHighError extends Error {
  override name = 'FeesTooHighError';
}

/** What a transaction signed now should offer, at most `maxWei`; what it does not need of it is not charged. */
export async function readFees(
  client: ChainClient,
  input: { maxWei: bigint },
  signal: AbortSignal,
): Promise<Fees> {
  const { baseFee, tip } = await readPrices(client, signal);
  const least = baseFee + tip;
  if (least > input.maxWei) {
    throw new FeesTooHighError(`gas costs ${least} wei, at most ${input.maxWei} is paid`);
  }
  return {
    maxFeePerGas: minOf(baseFee * BASE_FEE_HEADROOM + tip, input.maxWei),
    maxPriorityFeePerGas: tip,
  };
}

/**
 * What a transaction that waits should offer instead; undefined when its fees are not why it waits, or when
 * what the chain asks is more than may be paid.
 */
export async function readHigherFees(
  client: ChainClient,
  input: { former: Fees; maxWei: bigint },
  signal: AbortSignal,
): Promise<Fees | undefined> {
  const { former, maxWei } = input;
  const { baseFee, tip } = await readPrices(client, signal);
  if (former.maxFeePerGas >= baseFee + tip && former.maxPriorityFeePerGas >= tip) return undefined;
  const maxPriorityFeePerGas = maxOf(tip, bump(former.maxPriorityFeePerGas));
  const least = maxOf(baseFee + maxPriorityFeePerGas, bump(former.maxFeePerGas));
  if (least > maxWei) return undefined;
  const wanted = maxOf(baseFee * BASE_FEE_HEADROOM + maxPriorityFeePerGas, least);
  return { maxFeePerGas: minOf(wanted, maxWei), maxPriorityFeePerGas };
}

/** What one unit of gas costs now, wei. */
async function readPrices(
  client: ChainClient,
  signal: AbortSignal,
): Promise<{ baseFee: bigint; tip: bigint }> {
  const rpc = client.within(signal);
  const [block, tip] = await Promise.all([
    getBlock(rpc, { blockTag: 'latest' }),
    estimateMaxPriorityFeePerGas(rpc),
  ]);
  invariant(block.baseFeePerGas !== null, 'the chain has no base fee (EIP-1559)');
  return { baseFee: block.baseFeePerGas, tip };
}

/** Nodes take a replacement only when both of its fees are a tenth higher; this is an eighth, rounded up. */
function bump(fee: bigint): bigint {
  return (fee * 9n) / 8n + 1n;
}

function minOf(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function maxOf(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
