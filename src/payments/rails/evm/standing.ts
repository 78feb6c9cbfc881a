import { type Hex, hexToBigInt, numberToHex } from 'viem';
import { getTransactionReceipt, readContract } from 'viem/actions';
import { type Block, type ChainClient, readFinality } from '../../../chain/index.ts';
import { toUnixSeconds } from '../../../core/clock.ts';
import type { Eip3009Form } from '../../form.ts';
import { endingTopics, findPayment, isCancellation, referenceOf } from './payment-event.ts';
import { tokenAbi } from './token.ts';

/** How far and in what steps the chain's logs are searched. */
export type LogSearch = {
  /** The widest block range that the node answers in one call. */
  pageBlocks: number;
  /** How many blocks back the search ends. */
  lookbackBlocks: number;
};

export type StandingDeps = { client: ChainClient; search: LogSearch; confirmations: number };

/** What the chain says about an authorization. */
export type Standing =
  /** It moved its value to its payee. */
  | { kind: 'paid'; reference: string; isFinal: boolean }
  /** It was cancelled, or its nonce went into another transfer: once that is final it can never pay. */
  | { kind: 'voided'; isFinal: boolean }
  /** Its nonce is used and we do not see (yet) by what. */
  | { kind: 'unexplained' }
  /** Unused, and every block from now on is too late for it. */
  | { kind: 'expired' }
  | { kind: 'unused'; balance: bigint; latest: Block };

/** Reads how an authorization stands. Throws when the chain cannot say. */
export async function readStanding(
  deps: StandingDeps,
  form: Eip3009Form,
  signal: AbortSignal,
): Promise<Standing> {
  const { latest, finalized } = await readFinality(deps.client, signal);
  // All reads name one block: behind a load balancer, "latest" is not the same on every node.
  const { isUsed, balance } = await readPayer(deps.client, form, { blockNumber: latest.number }, signal);
  if (isUsed) return findEnding(deps, form, { latest: latest.number, final: finalized.number }, signal);
  const isTooLate = BigInt(toUnixSeconds(finalized.timestamp)) >= form.validBefore;
  if (isTooLate && latest.number >= finalized.number) return { kind: 'expired' };
  return { kind: 'unused', balance, latest };
}

/** Whether the nonce is used and what the payer owns, in one round trip. */
export async function readPayer(
  client: ChainClient,
  form: Eip3009Form,
  at: { blockNumber?: bigint },
  signal: AbortSignal,
): Promise<{ isUsed: boolean; balance: bigint }> {
  const rpc = client.within(signal);
  const token = { address: form.asset, abi: tokenAbi, ...at };
  const [isUsed, balance] = await Promise.all([
    readContract(rpc, { ...token, functionName: 'authorizationState', args: [form.from, form.nonce] }),
    readContract(rpc, { ...token, functionName: 'balanceOf', args: [form.from] }),
  ]);
  return { isUsed, balance };
}

/** Looks, newest blocks first, for the event that used up the nonce. */
export async function findEnding(
  deps: StandingDeps,
  form: Eip3009Form,
  blocks: { latest: bigint; final: bigint },
  signal: AbortSignal,
): Promise<Standing> {
  const newest = blocks.latest - BigInt(deps.confirmations) + 1n;
  const oldest = maxOf(newest - BigInt(deps.search.lookbackBlocks), 0n);
  const page = BigInt(deps.search.pageBlocks);
  for (let to = newest; to >= oldest; to -= page) {
    const from = maxOf(to - page + 1n, oldest);
    const ending = await findEndingBetween(deps.client, form, { from, to, final: blocks.final }, signal);
    if (ending !== undefined) return ending;
  }
  return { kind: 'unexplained' };
}

async function findEndingBetween(
  client: ChainClient,
  form: Eip3009Form,
  blocks: { from: bigint; to: bigint; final: bigint },
  signal: AbortSignal,
): Promise<Standing | undefined> {
  const rpc = client.within(signal);
  const [log] = await rpc.request({
    method: 'eth_getLogs',
    params: [
      {
        address: form.asset,
        topics: endingTopics(form),
        fromBlock: numberToHex(blocks.from),
        toBlock: numberToHex(blocks.to),
      },
    ],
  });
  if (log === undefined) return undefined;
  if (log.transactionHash === null || log.blockNumber === null) return undefined;
  if (isCancellation(log)) return { kind: 'voided', isFinal: hexToBigInt(log.blockNumber) <= blocks.final };
  return readPayment(client, { form, hash: log.transactionHash, final: blocks.final }, signal);
}

async function readPayment(
  client: ChainClient,
  input: { form: Eip3009Form; hash: Hex; final: bigint },
  signal: AbortSignal,
): Promise<Standing> {
  const { hash, form, final } = input;
  const receipt = await getTransactionReceipt(client.within(signal), { hash });
  const payment = findPayment(receipt.logs, form);
  const isFinal = receipt.blockNumber <= final;
  return payment === undefined
    ? { kind: 'voided', isFinal }
    : { kind: 'paid', reference: referenceOf(hash, payment.ordinal), isFinal };
}

function maxOf(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
