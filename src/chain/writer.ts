import { setTimeout as sleep } from 'node:timers/promises';
import type { Hex } from 'viem';
import { getTransactionCount } from 'viem/actions';
import { timeLimit } from '../core/time-limit.ts';
import { broadcast, type WriterContext, type WriterDeps } from './broadcast.ts';
import type { WriteOutcome } from './outcome.ts';
import { readReceiptOf } from './receipt.ts';
import { replaceStuck } from './replace.ts';
import { type ResumeReport, resumeWallet } from './resume.ts';
import { signAndStore } from './sign.ts';
import { countReverted, findByNonce, findByRef, recordReceipt, type StoredTransaction } from './store.ts';
import { dropIfTaken } from './taken.ts';

export type WriteRequest = {
  /** What the transaction is for. A ref gets one transaction, however often and from wherever it is sent. */
  ref: string;
  to: Hex;
  data: Hex;
  gasLimit: bigint;
};

/** The one writer of a wallet: any number of processes may each have one over the same database. */
export type Writer = {
  readonly chainId: number;
  readonly address: Hex;
  /** Signs, stores, broadcasts and waits; or continues with the transaction that `ref` has already. */
  send(request: WriteRequest, signal: AbortSignal): Promise<WriteOutcome>;
  /** Continues with the transaction that `ref` has, and waits; undefined when there is none. */
  follow(ref: string, signal: AbortSignal): Promise<WriteOutcome | undefined>;
  /** What became of a ref's transaction, without waiting; undefined when there is none. */
  find(ref: string, signal: AbortSignal): Promise<WriteOutcome | undefined>;
  /** How many transactions whose ref begins so were mined within `withinMs` and did nothing. */
  countReverted(input: { refPrefix: string; withinMs: number }): Promise<bigint>;
  /** Broadcasts again what has no receipt and records the receipts there are. Throws when it cannot look. */
  resume(signal: AbortSignal): Promise<ResumeReport>;
};

const POLL_GROWTH = 1.5;
const POLL_MS_MAX = 2_000;
/** A transaction without a receipt for this long is broadcast again. */
const REBROADCAST_MS = 2_000;

/** Creates the writer of `account`'s wallet on the client's chain. */
export function createWriter(deps: WriterDeps): Writer {
  const address = toLowerHex(deps.account.address);
  const context: WriterContext = { ...deps, wallet: { chainId: deps.client.chainId, address } };
  return {
    chainId: deps.client.chainId,
    address,
    send: (request, signal) => send(context, request, signal),
    follow: (ref, signal) => follow(context, ref, signal),
    find: (ref, signal) => find(context, ref, signal),
    countReverted: (input) => countReverted(deps.sql, context.wallet, input),
    resume: (signal) => resumeWallet(context, signal),
  };
}

async function send(
  context: WriterContext,
  request: WriteRequest,
  signal: AbortSignal,
): Promise<WriteOutcome> {
  const bounded = boundReceipt(context, signal);
  try {
    return await awaitReceipt(context, await signAndStore(context, request, bounded), bounded);
  } catch (cause) {
    // Whether a row was committed is not certain here, so neither is what becomes of it: the next send knows.
    return { kind: 'unknown', hash: undefined, cause };
  }
}

async function follow(
  context: WriterContext,
  ref: string,
  signal: AbortSignal,
): Promise<WriteOutcome | undefined> {
  const transaction = await findByRef(context.sql, context.wallet, ref);
  return transaction && awaitReceipt(context, transaction, boundReceipt(context, signal));
}

function boundReceipt(context: WriterContext, signal: AbortSignal): AbortSignal {
  return timeLimit(signal, context.timeouts.receiptMs);
}

async function find(
  context: WriterContext,
  ref: string,
  signal: AbortSignal,
): Promise<WriteOutcome | undefined> {
  const transaction = await findByRef(context.sql, context.wallet, ref);
  if (transaction === undefined) return undefined;
  const hash = toLowerHex(transaction.hash);
  try {
    const outcome = await readOutcome(context, transaction, signal);
    if (outcome === undefined && (await dropIfTaken(context, transaction, signal))) return undefined;
    return outcome ?? { kind: 'unknown', hash, cause: new Error('the transaction is not mined yet') };
  } catch (cause) {
    return { kind: 'unknown', hash, cause };
  }
}

/** Broadcasts and looks until there is a receipt or time is up. No failed look or broadcast is final. */
async function awaitReceipt(
  context: WriterContext,
  stored: StoredTransaction,
  signal: AbortSignal,
): Promise<WriteOutcome> {
  let transaction = stored;
  let cause: unknown;
  // What once had a receipt is only looked for, and broadcast again when a reorganisation took it out.
  let broadcastAt = transaction.state === 'signed' ? Number.NEGATIVE_INFINITY : performance.now();
  for (let pauseMs = context.timeouts.pollMs; ; pauseMs = Math.min(pauseMs * POLL_GROWTH, POLL_MS_MAX)) {
    if (performance.now() - broadcastAt >= REBROADCAST_MS) {
      if (broadcastAt !== Number.NEGATIVE_INFINITY) transaction = await unblock(context, transaction, signal);
      cause = (await broadcast(context, transaction, signal)) ?? cause;
      broadcastAt = performance.now();
    }
    try {
      const outcome = await readOutcome(context, transaction, signal);
      if (outcome !== undefined) return outcome;
    } catch (error) {
      cause ??= error;
    }
    const isOver = await sleep(pauseMs, false, { signal }).catch(() => true);
    if (isOver) return { kind: 'unknown', hash: toLowerHex(transaction.hash), cause: cause ?? signal.reason };
  }
}

/**
 * What is signed for this ref by now, and on the way the chain gets what it is waiting for: a process that died
 * between commit and broadcast left a gap, and nothing after a transaction with too low fees is mined.
 */
async function unblock(
  context: WriterContext,
  transaction: StoredTransaction,
  signal: AbortSignal,
): Promise<StoredTransaction> {
  try {
    const { client, sql, wallet, account } = context;
    const current = (await findByRef(sql, wallet, transaction.ref)) ?? transaction;
    const chainCount = await getTransactionCount(client.within(signal), {
      address: account.address,
      blockTag: 'latest',
    });
    if (chainCount > current.nonce) {
      // It goes on waiting, and ends in `unknown`: sent again, its ref gets a transaction anew.
      await dropIfTaken(context, current, signal);
      return current;
    }
    if (BigInt(chainCount) === current.nonce)
      return (await replaceStuck(context, current, signal)) ?? current;
    const blocker = await findByNonce(sql, wallet, chainCount);
    if (blocker) await broadcast(context, (await replaceStuck(context, blocker, signal)) ?? blocker, signal);
    return current;
  } catch (cause) {
    // The caller keeps looking for its own receipt either way.
    context.log.debug({ ref: transaction.ref, cause }, 'could not look for what holds a transaction up');
    return transaction;
  }
}

/** The transaction's receipt as an outcome, written down on the way; undefined while it is not mined. */
async function readOutcome(
  context: WriterContext,
  transaction: StoredTransaction,
  signal: AbortSignal,
): Promise<WriteOutcome | undefined> {
  const receipt = await readReceiptOf(context, transaction, signal);
  if (receipt === undefined) return undefined;
  if (transaction.state === 'signed') {
    await recordReceipt(context.sql, context.wallet, transaction.nonce, receipt.stored).catch((cause) => {
      // The chain is the record; resume writes it down later.
      context.log.warn({ ref: transaction.ref, cause }, 'a receipt could not be stored');
    });
  }
  return receipt.outcome;
}

/** Hex digits are compared as text, so one case only. */
function toLowerHex(value: string): Hex {
  return value.toLowerCase() as Hex;
}
