import { BaseError, ContractFunctionRevertedError, type Hex, hexToBytes } from 'viem';
import { readContract } from 'viem/actions';
import type { ChainClient } from '../../../chain/index.ts';
import type { HeldAnchor } from '../../anchoring/anchor-chain.ts';
import { versionAnchorAbi } from './version-anchor-abi.ts';

/** A contract, and how to reach it. */
export type ContractContext = { client: ChainClient; address: Hex };

/** The state that is read: the newest, unless a block is named. */
type At = { blockNumber?: bigint };

/** What the contract keeps of an anchor. */
export type ChainAnchor = HeldAnchor & {
  /** As the chain's NUMBER instruction tells it: on some rollups a number of the parent chain. */
  toldNumber: bigint;
};

/** The anchor of the largest tree. */
export function readLatest(context: ContractContext, signal: AbortSignal): Promise<ChainAnchor | undefined> {
  return unlessThereIsNone(async () => {
    const [index, anchor] = await readContract(context.client.within(signal), {
      ...{ address: context.address, abi: versionAnchorAbi, functionName: 'latest' },
    });
    return toAnchor(index, anchor);
  });
}

export function readAnchor(
  context: ContractContext,
  anchorIndex: number,
  signal: AbortSignal,
  at: At = {},
): Promise<ChainAnchor | undefined> {
  return unlessThereIsNone(async () => {
    const index = BigInt(anchorIndex);
    const anchor = await readContract(context.client.within(signal), {
      ...{ address: context.address, abi: versionAnchorAbi, functionName: 'anchorAt', args: [index], ...at },
    });
    return toAnchor(index, anchor);
  });
}

/** The anchor of a tree of exactly this size. */
export async function findBySize(
  context: ContractContext,
  treeSize: number,
  signal: AbortSignal,
): Promise<ChainAnchor | undefined> {
  const index = await unlessThereIsNone(() =>
    readContract(context.client.within(signal), {
      ...{ address: context.address, abi: versionAnchorAbi, functionName: 'firstCovering' },
      args: [BigInt(treeSize) - 1n],
    }),
  );
  const anchor = index === undefined ? undefined : await readAnchor(context, Number(index), signal);
  return anchor?.treeSize === treeSize ? anchor : undefined;
}

/** The name of the error that the contract refused a call with. */
export function refusalOf(error: unknown): string | undefined {
  if (!(error instanceof BaseError)) return undefined;
  const revert = error.walk((inner) => inner instanceof ContractFunctionRevertedError);
  if (!(revert instanceof ContractFunctionRevertedError)) return undefined;
  return revert.data?.errorName;
}

async function unlessThereIsNone<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (refusalOf(error) === 'NoSuchAnchor') return undefined;
    throw error;
  }
}

type Stored = { root: Hex; treeSize: bigint; time: bigint; blockNumber: bigint };

function toAnchor(index: bigint, { root, treeSize, time, blockNumber }: Stored): ChainAnchor {
  return {
    anchorIndex: Number(index),
    treeSize: Number(treeSize),
    root: Buffer.from(hexToBytes(root)),
    blockTime: Number(time),
    toldNumber: blockNumber,
  };
}
