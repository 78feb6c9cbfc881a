import { type Hex, keccak256 } from 'viem';
import { getTransactionCount } from 'viem/actions';
import { withTransaction } from '../db/index.ts';
import type { WriterContext } from './broadcast.ts';
import { type Fees, readFees } from './fees.ts';
import { findByRef, insertSigned, lockNextNonce, readNextNonce, type StoredTransaction } from './store.ts';
import type { WriteRequest } from './writer.ts';

/** Whoever signs elsewhere is asked anew when the nonce went to another sender meanwhile, and not for ever. */
const REMOTE_ATTEMPTS_MAX = 5;

/** Hands out the nonce and stores the signed transaction in one commit; every network call comes before. */
export async function signAndStore(
  context: WriterContext,
  request: WriteRequest,
  signal: AbortSignal,
): Promise<StoredTransaction> {
  const { sql, client, wallet, account } = context;
  const earlier = await findByRef(sql, wallet, request.ref);
  if (earlier !== undefined) return earlier;
  const [fees, chainCount] = await Promise.all([
    readFees(client, { maxWei: context.feeMaxWei }, signal),
    getTransactionCount(client.within(signal), { address: account.address, blockTag: 'pending' }),
  ]);
  signal.throwIfAborted();
  if (account.source === 'remote') return signElsewhere(context, request, { fees, chainCount }, signal);
  return withTransaction(sql, async (tx) => {
    const nonce = await lockNextNonce(tx, wallet, chainCount);
    const racing = await findByRef(tx, wallet, request.ref);
    if (racing !== undefined) return racing;
    return insertSigned(tx, wallet, await sign(context, request, fees, nonce));
  });
}

/**
 * A signer elsewhere is asked before the wallet's row is locked. What it signed for a nonce that another sender took
 * meanwhile is thrown away before anybody saw it.
 */
async function signElsewhere(
  context: WriterContext,
  request: WriteRequest,
  { fees, chainCount }: { fees: Fees; chainCount: number },
  signal: AbortSignal,
): Promise<StoredTransaction> {
  const { sql, wallet } = context;
  for (let attempt = 0; attempt < REMOTE_ATTEMPTS_MAX; attempt += 1) {
    const nonce = await readNextNonce(sql, wallet, chainCount);
    const signed = await sign(context, request, fees, nonce);
    signal.throwIfAborted();
    const stored = await withTransaction(sql, async (tx) => {
      const free = await lockNextNonce(tx, wallet, chainCount);
      const racing = await findByRef(tx, wallet, request.ref);
      if (racing !== undefined) return racing;
      return free === nonce ? insertSigned(tx, wallet, signed) : undefined;
    });
    if (stored !== undefined) return stored;
  }
  throw new Error('other senders took each nonce that was signed for');
}

async function sign(context: WriterContext, request: WriteRequest, fees: Fees, nonce: bigint) {
  const raw: Hex = await context.account.signTransaction({
    type: 'eip1559',
    chainId: context.wallet.chainId,
    nonce: Number(nonce),
    to: request.to,
    data: request.data,
    gas: request.gasLimit,
    ...fees,
  });
  return { ref: request.ref, nonce, hash: keccak256(raw), raw: Buffer.from(raw.slice(2), 'hex') };
}
