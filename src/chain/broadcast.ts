import { type LocalAccount, toHex } from 'viem';
import { sendRawTransaction } from 'viem/actions';
import type { Log } from '../core/log.ts';
import type { Sql } from '../db/index.ts';
import type { ChainClient } from './client.ts';
import type { StoredTransaction, Wallet } from './store.ts';

/**
 * Sends a stored transaction to the chain; answers the error, if any. None of them says that it will not be
 * mined: the node may know it already, or have taken it and lost the answer.
 */
export async function broadcast(
  context: WriterContext,
  transaction: StoredTransaction,
  signal: AbortSignal,
): Promise<unknown> {
  try {
    const serializedTransaction = toHex(transaction.raw);
    await sendRawTransaction(context.client.within(signal), { serializedTransaction });
    return undefined;
  } catch (cause) {
    const fields = { ref: transaction.ref, hash: transaction.hash, cause };
    if (isKnownAlready(cause)) context.log.debug(fields, 'the chain knows this transaction');
    else context.log.warn(fields, 'a broadcast was not confirmed');
    return cause;
  }
}

/** Nodes say it in words only. Nothing depends on this but how loud the log is. */
function isKnownAlready(cause: unknown): boolean {
  return cause instanceof Error && /already known|already imported|nonce too low/i.test(cause.message);
}

export type WriterTimeouts = {
  /** How long `send` waits for the receipt before it answers `unknown`. */
  receiptMs: number;
  /** The first pause between two looks at the receipt; each further one is half as long again. */
  pollMs: number;
  /** How long a transaction waits before it is signed anew with higher fees, if those are why. */
  replaceMs: number;
};

export type WriterDeps = {
  sql: Sql;
  client: ChainClient;
  /** Signs: with a key of this process, which never leaves it, or elsewhere (`createRemoteSigner`). */
  account: LocalAccount;
  /** How many blocks, its own included, a transaction must have on it to count as mined. */
  confirmations: number;
  /** The most it pays for one unit of gas, wei: beyond it nothing is signed until gas is cheaper. */
  feeMaxWei: bigint;
  log: Log;
  timeouts: WriterTimeouts;
};

/** What the steps of a writer share. */
export type WriterContext = WriterDeps & { wallet: Wallet };
