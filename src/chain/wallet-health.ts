import type { Hex } from 'viem';
import { getBalance, getBlock } from 'viem/actions';
import type { ChainClient } from './client.ts';

/** Whether a wallet can pay for what it has to send. */
export type WalletHealth = {
  /** `low`: fill it soon; `empty`: not even one transaction more. */
  kind: 'ok' | 'low' | 'empty';
  balanceWei: bigint;
  /** How many more transactions it pays for at today's price of gas. */
  transactionsLeft: bigint;
};

export type WalletHealthInput = {
  address: Hex;
  /** What one transaction takes. */
  gas: bigint;
  /** Below this many transactions the wallet is low. */
  transactionsMin: number;
};

/** Reads how many transactions a wallet still pays for. Throws when the chain cannot say. */
export async function readWalletHealth(
  client: ChainClient,
  input: WalletHealthInput,
  signal: AbortSignal,
): Promise<WalletHealth> {
  const rpc = client.within(signal);
  const [balanceWei, block] = await Promise.all([
    getBalance(rpc, { address: input.address }),
    getBlock(rpc, { blockTag: 'latest' }),
  ]);
  // A node takes a transaction only when the wallet covers the highest fee it offers: about twice the base fee.
  const price = input.gas * 2n * (block.baseFeePerGas ?? 0n);
  const transactionsLeft = price === 0n ? balanceWei : balanceWei / price;
  if (transactionsLeft < 1n) return { kind: 'empty', balanceWei, transactionsLeft };
  const kind = transactionsLeft < BigInt(input.transactionsMin) ? 'low' : 'ok';
  return { kind, balanceWei, transactionsLeft };
}
