import { BlockNotFoundError, type Hex, isHex, parseEventLogs } from 'viem';
import { getBlock, getBlockNumber, getContractEvents } from 'viem/actions';
import { readFinalNumber, readReceipt, type WriteOutcome } from '../../../chain/index.ts';
import type { BlockStanding, HeldAnchor, MinedAnchor } from '../../anchoring/anchor-chain.ts';
import { type ContractContext, readAnchor } from './anchors.ts';
import { versionAnchorAbi } from './version-anchor-abi.ts';

/** Where an event is searched when the contract does not tell its block. */
const SEARCH = { pageBlocks: 2_000n, pagesMax: 10 };

/** Where an event says that it happened. */
type Place = { txHash: Hex; blockNumber: bigint; blockHash: Hex };

/**
 * The transaction that put an anchor there: our own, or whoever's event tells of it. What a receipt or an event says
 * is held against the chain's blocks and the contract's state.
 */
export async function findMined(
  context: ContractContext,
  held: HeldAnchor,
  ours: WriteOutcome | undefined,
  signal: AbortSignal,
): Promise<MinedAnchor | undefined> {
  const own = ours?.kind === 'mined' ? findInReceipt(context, held, ours.logs) : undefined;
  if (own && ours?.kind === 'mined' && (await isBorneOut(context, held, own, signal))) {
    return toMined(own, ours.gasUsed);
  }
  const place = await findEvent(context, held, signal);
  if (!place || !(await isBorneOut(context, held, place, signal))) return undefined;
  const receipt = await readReceipt({ client: context.client, confirmations: 1 }, place.txHash, signal);
  return toMined(place, receipt?.outcome.gasUsed);
}

/** Whether the chain still has the block, and whether that can change. */
export async function readStanding(
  context: ContractContext,
  block: { blockNumber: number; blockHash: string },
  signal: AbortSignal,
): Promise<BlockStanding> {
  const finalNumber = await readFinalNumber(context.client, signal);
  const found = await readBlock(context, BigInt(block.blockNumber), signal);
  if (found?.hash !== block.blockHash) return 'gone';
  return BigInt(block.blockNumber) <= finalNumber ? 'final' : 'open';
}

type Logs = Extract<WriteOutcome, { kind: 'mined' }>['logs'];

function findInReceipt(context: ContractContext, held: HeldAnchor, logs: Logs): Place | undefined {
  const events = parseEventLogs({ abi: versionAnchorAbi, eventName: 'Anchored', logs });
  const event = events.find(
    ({ address, args }) =>
      address.toLowerCase() === context.address && args.index === BigInt(held.anchorIndex),
  );
  return event && toPlace(event);
}

/** Where the contract says it was, and else backwards from the newest block. */
async function findEvent(
  context: ContractContext,
  held: HeldAnchor,
  signal: AbortSignal,
): Promise<Place | undefined> {
  const rpc = context.client.within(signal);
  const search = async (fromBlock: bigint, toBlock: bigint) => {
    const [event] = await getContractEvents(rpc, {
      ...{ address: context.address, abi: versionAnchorAbi, eventName: 'Anchored', fromBlock, toBlock },
      args: { index: BigInt(held.anchorIndex) },
    });
    return event && toPlace(event);
  };
  const anchor = await readAnchor(context, held.anchorIndex, signal);
  const latest = await getBlockNumber(rpc);
  if (anchor && anchor.toldNumber <= latest) {
    const place = await search(anchor.toldNumber, anchor.toldNumber);
    if (place) return place;
  }
  for (let page = 0, to = latest; page < SEARCH.pagesMax && to >= 0n; page += 1, to -= SEARCH.pageBlocks) {
    const from = to - SEARCH.pageBlocks + 1n;
    const place = await search(from > 0n ? from : 0n, to);
    if (place) return place;
  }
  return undefined;
}

/**
 * The block is on the chain and has the anchor's time, and it is the first that has the anchor in its state: as far as
 * the node still has those states, for it forgets old ones.
 */
async function isBorneOut(
  context: ContractContext,
  held: HeldAnchor,
  place: Place,
  signal: AbortSignal,
): Promise<boolean> {
  const { blockNumber } = place;
  const block = await readBlock(context, blockNumber, signal);
  if (block?.hash !== place.blockHash || Number(block.timestamp) !== held.blockTime) return false;
  const readThen = (number: bigint) =>
    readAnchor(context, held.anchorIndex, signal, { blockNumber: number }).catch(() => 'forgotten' as const);
  const [before, then] = await Promise.all([readThen(blockNumber - 1n), readThen(blockNumber)]);
  if (before !== undefined && before !== 'forgotten') return false;
  if (then === 'forgotten') return true;
  return then?.treeSize === held.treeSize && Buffer.compare(then.root, held.root) === 0;
}

async function readBlock(context: ContractContext, blockNumber: bigint, signal: AbortSignal) {
  try {
    return await getBlock(context.client.within(signal), { blockNumber });
  } catch (error) {
    if (error instanceof BlockNotFoundError) return undefined;
    throw error;
  }
}

type MinedLog = { transactionHash: Hex | null; blockNumber: bigint | null; blockHash: Hex | null };

function toPlace({ transactionHash, blockNumber, blockHash }: MinedLog): Place | undefined {
  if (!isHex(transactionHash) || !isHex(blockHash) || blockNumber === null) return undefined;
  return { txHash: transactionHash, blockNumber, blockHash };
}

function toMined({ txHash, blockNumber, blockHash }: Place, gasUsed: bigint | undefined): MinedAnchor {
  return { txHash, blockHash, blockNumber: Number(blockNumber), gasUsed };
}
