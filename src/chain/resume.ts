import { getTransactionCount } from 'viem/actions';
import { broadcast, type WriterContext } from './broadcast.ts';
import { readFinalNumber } from './finality.ts';
import { readReceiptOf } from './receipt.ts';
import { replaceStuck } from './replace.ts';
import { listUnfinished, recordDropped, recordReceipt, type StoredTransaction } from './store.ts';

/** What one pass over the unfinished transactions found. */
export type ResumeReport = { mined: number; reverted: number; dropped: number; open: number };

/** One pass stays short; what is left over is the next pass's. */
const ROWS_MAX = 200;

/** Finishes what a crash or a lost answer left: in nonce order, because the chain mines in that order. */
export async function resumeWallet(context: WriterContext, signal: AbortSignal): Promise<ResumeReport> {
  const { sql, client, wallet } = context;
  const rpc = client.within(signal);
  const address = context.account.address;
  const [chainCount, finalCount] = await Promise.all([
    getTransactionCount(rpc, { address, blockTag: 'latest' }),
    readFinalNumber(client, signal).then((blockNumber) => getTransactionCount(rpc, { address, blockNumber })),
  ]);
  const report: ResumeReport = { mined: 0, reverted: 0, dropped: 0, open: 0 };
  for (const transaction of await listUnfinished(sql, wallet, { chainCount, rowsMax: ROWS_MAX })) {
    signal.throwIfAborted();
    report[await finish(context, transaction, { finalCount, signal })] += 1;
  }
  return report;
}

async function finish(
  context: WriterContext,
  transaction: StoredTransaction,
  input: { finalCount: number; signal: AbortSignal },
): Promise<keyof ResumeReport> {
  const { sql, wallet } = context;
  const receipt = await readReceiptOf(context, transaction, input.signal);
  if (receipt !== undefined) {
    await recordReceipt(sql, wallet, transaction.nonce, receipt.stored);
    return receipt.stored.state;
  }
  // Only a final count says so: before that, a reorganisation can still give the nonce back.
  if (transaction.state === 'signed' && transaction.nonce < input.finalCount) {
    await recordDropped(sql, wallet, transaction);
    const { ref, hash } = transaction;
    context.log.warn({ ref, hash }, 'the nonce went to a transaction that is not ours');
    return 'dropped';
  }
  const current = (await replaceStuck(context, transaction, input.signal)) ?? transaction;
  await broadcast(context, current, input.signal);
  return 'open';
}
