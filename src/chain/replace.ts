import { keccak256, parseTransaction, toHex } from 'viem';
import { invariant } from '../core/invariant.ts';
import type { WriterContext } from './broadcast.ts';
import { readHigherFees } from './fees.ts';
import { replaceSigned, type StoredTransaction } from './store.ts';

/** Each one costs an eighth more than the one before: ten make it three times as dear. */
const REPLACEMENTS_MAX = 10;

/**
 * Signs a transaction that has waited long and offers too little anew: the same nonce, the same call, higher
 * fees. The caller broadcasts what comes back. Undefined when there is nothing to replace it with.
 */
export async function replaceStuck(
  context: WriterContext,
  transaction: StoredTransaction,
  signal: AbortSignal,
): Promise<StoredTransaction | undefined> {
  const { client, wallet, log, feeMaxWei } = context;
  if (transaction.waitedMs < context.timeouts.replaceMs) return undefined;
  if (transaction.earlierHashes.length >= REPLACEMENTS_MAX) return undefined;
  const former = parseTransaction(toHex(transaction.raw));
  const { nonce, to, data, gas, value, maxFeePerGas, maxPriorityFeePerGas } = former;
  invariant(former.type === 'eip1559' && to && maxFeePerGas !== undefined, 'a transaction that is not ours');
  const fees = await readHigherFees(
    client,
    { former: { maxFeePerGas, maxPriorityFeePerGas: maxPriorityFeePerGas ?? 0n }, maxWei: feeMaxWei },
    signal,
  );
  if (fees === undefined) return undefined;
  const raw = await context.account.signTransaction({
    ...{ type: 'eip1559', chainId: wallet.chainId, to, ...fees },
    // What is left out of the bytes is zero or empty.
    ...{ nonce: nonce ?? 0, data: data ?? '0x', gas: gas ?? 0n, value: value ?? 0n },
  });
  const signed = { hash: keccak256(raw), raw: Buffer.from(raw.slice(2), 'hex') };
  const replaced = await replaceSigned(context.sql, wallet, transaction, signed);
  if (replaced)
    log.warn({ ref: transaction.ref, nonce, ...fees }, 'a transaction that waited was signed anew');
  return replaced;
}
