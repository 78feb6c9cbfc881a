import { getBlock } from 'viem/actions';
import type { ChainClient } from './client.ts';

export type Block = { number: bigint; hash: string; timestamp: Date };

/** Where the chain stands: what is newest, and what can never be undone. */
export type Finality = { latest: Block; finalized: Block };

/** Reads the newest and the newest final block in one round trip. */
export async function readFinality(client: ChainClient, signal: AbortSignal): Promise<Finality> {
  const rpc = client.within(signal);
  const [latest, finalized] = await Promise.all([
    getBlock(rpc, { blockTag: 'latest' }),
    getBlock(rpc, { blockTag: 'finalized' }),
  ]);
  return { latest: toBlock(latest), finalized: toBlock(finalized) };
}

/** Whether a block has as many blocks on it, itself included, as the caller wants to see. */
export function isDeepEnough(input: { blockNumber: bigint; latest: bigint; confirmations: number }): boolean {
  return input.latest - input.blockNumber + 1n >= BigInt(input.confirmations);
}

function toBlock(block: { number: bigint; hash: string; timestamp: bigint }): Block {
  return { number: block.number, hash: block.hash, timestamp: new Date(Number(block.timestamp) * 1000) };
}
