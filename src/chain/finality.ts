import { getBlock, getBlockNumber } from 'viem/actions';
import type { ChainClient } from './client.ts';

export type Block = { number: bigint; hash: string; timestamp: Date };

/** Where the chain stands: what is newest, and what can never be undone. */
export type Finality = { latest: Block; finalized: Block };

/** Reads the newest and the newest final block. */
export async function readFinality(client: ChainClient, signal: AbortSignal): Promise<Finality> {
  const rpc = client.within(signal);
  if (client.finalityBlocks !== undefined) {
    const latest = await getBlock(rpc, { blockTag: 'latest' });
    const blockNumber = deepestOf(latest.number, client.finalityBlocks);
    return { latest: toBlock(latest), finalized: toBlock(await getBlock(rpc, { blockNumber })) };
  }
  const [latest, finalized] = await Promise.all([
    getBlock(rpc, { blockTag: 'latest' }),
    getBlock(rpc, { blockTag: 'finalized' }),
  ]);
  return { latest: toBlock(latest), finalized: toBlock(finalized) };
}

/** The number of the newest block that can never be undone. */
export async function readFinalNumber(client: ChainClient, signal: AbortSignal): Promise<bigint> {
  const rpc = client.within(signal);
  if (client.finalityBlocks === undefined) return (await getBlock(rpc, { blockTag: 'finalized' })).number;
  return deepestOf(await getBlockNumber(rpc), client.finalityBlocks);
}

/** On a chain younger than that only the block that nobody can replace is final. */
function deepestOf(latest: bigint, blocks: number): bigint {
  const number = latest - BigInt(blocks);
  return number > 0n ? number : 0n;
}

/** Whether a block has as many blocks on it, itself included, as the caller wants to see. */
export function isDeepEnough(input: { blockNumber: bigint; latest: bigint; confirmations: number }): boolean {
  return input.latest - input.blockNumber + 1n >= BigInt(input.confirmations);
}

function toBlock(block: { number: bigint; hash: string; timestamp: bigint }): Block {
  return { number: block.number, hash: block.hash, timestamp: new Date(Number(block.timestamp) * 1000) };
}
