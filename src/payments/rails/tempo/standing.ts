import { type Hex, maxUint256, parseAbi, TransactionReceiptNotFoundError } from 'viem';
import { getTransactionCount, getTransactionReceipt, readContract } from 'viem/actions';
import { type Block, type ChainClient, readFinality } from '../../../chain/index.ts';
import type { TempoRailContext } from './context.ts';
import type { Shown } from './identity.ts';
import { sumPayments } from './payment-event.ts';
import type { SignedTransaction } from './transaction.ts';

/** What the chain says about a payment's transaction. */
export type Standing =
  /** It is mined and paid us these units. */
  | { kind: 'paid'; units: bigint; isFinal: boolean }
  /** It is mined and did not: it failed, or it did something else. */
  | { kind: 'void'; hasFailed: boolean; isFinal: boolean }
  /** Not mined, and every block from now on is too late for it. */
  | { kind: 'expired' }
  /** Not mined, and its nonce went to another transaction for good. */
  | { kind: 'displaced' }
  /** Not mined, as far as this node knows. */
  | { kind: 'open' };

/**
 * Behind a load balancer the node that tells what is final may be ahead of the one that looks for the receipt:
 * so far may it be without a payment being taken for one that never comes. Tempo makes two blocks a second.
 */
const NODE_LAG_SECONDS = 10;
const NODE_LAG_BLOCKS = 20n;

/** Reads how a payment stands. Throws when the chain cannot say. */
export async function readStanding(
  context: TempoRailContext,
  { shown, units }: { shown: Shown; units: bigint },
  signal: AbortSignal,
): Promise<Standing> {
  const { client } = context;
  const { form, hash, transaction } = shown;
  // What is final is read first: a receipt that is missing afterwards was not there then either.
  const { finalized } = await readFinality(client, signal);
  const receipt = await readReceipt(client, hash, signal);
  if (receipt !== undefined) {
    const isFinal = receipt.blockNumber <= finalized.number;
    const hasFailed = receipt.status !== 'success';
    const payer = form.shows === 'hash' ? form.payer : transaction?.sender;
    const paid = sumPayments(hasFailed ? [] : receipt.logs, { ...context, ...form, payer, units });
    return paid > 0n ? { kind: 'paid', units: paid, isFinal } : { kind: 'void', hasFailed, isFinal };
  }
  if (transaction === undefined) return { kind: 'open' };
  if (isExpiredAt(transaction, finalized)) return { kind: 'expired' };
  const isDisplaced = await wasNonceUsed(client, { transaction, finalNumber: finalized.number }, signal);
  return isDisplaced ? { kind: 'displaced' } : { kind: 'open' };
}

async function readReceipt(client: ChainClient, hash: Hex, signal: AbortSignal) {
  return getTransactionReceipt(client.within(signal), { hash }).catch((error: unknown) => {
    if (error instanceof TransactionReceiptNotFoundError) return undefined;
    throw error;
  });
}

/** Whether the sender's count had passed the nonce by a block that is final and that every node has. */
async function wasNonceUsed(
  client: ChainClient,
  { transaction, finalNumber }: { transaction: SignedTransaction; finalNumber: bigint },
  signal: AbortSignal,
): Promise<boolean> {
  const blockNumber = finalNumber - NODE_LAG_BLOCKS;
  if (blockNumber < 0n) return false;
  const next = await readNextNonce(client, { transaction, at: { blockNumber } }, signal);
  return next !== undefined && next > (transaction.terms.nonce ?? 0n);
}

/** The nonce that the sender's next transaction with this key needs; undefined where none is counted. */
export async function readNextNonce(
  client: ChainClient,
  input: { transaction: SignedTransaction; at: { blockNumber: bigint } | { blockTag: 'latest' } },
  signal: AbortSignal,
): Promise<bigint | undefined> {
  const { sender, terms } = input.transaction;
  const { nonceKey = 0n } = terms;
  const rpc = client.within(signal);
  if (nonceKey === EXPIRING_NONCE_KEY) return undefined;
  if (nonceKey === 0n) return BigInt(await getTransactionCount(rpc, { address: sender, ...input.at }));
  return readContract(rpc, {
    ...{ address: NONCE_MANAGER, abi: nonceAbi, functionName: 'getNonce', ...input.at },
    args: [sender, nonceKey],
  });
}

function isExpiredAt({ terms }: SignedTransaction, block: Block): boolean {
  if (terms.validBefore === undefined) return false;
  return block.timestamp.getTime() / 1000 >= terms.validBefore + NODE_LAG_SECONDS;
}

/** The key of nonces that are used up by the hash, and only for seconds (TIP-1009). */
const EXPIRING_NONCE_KEY = maxUint256;
const NONCE_MANAGER = '0x4e4F4E4345000000000000000000000000000000';
const nonceAbi = parseAbi(['function getNonce(address account, uint256 nonceKey) view returns (uint64)']);
