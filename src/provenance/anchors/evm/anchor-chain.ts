import { type Hex, keccak256 } from 'viem';
import { getChainId, getCode, readContract } from 'viem/actions';
import type { ChainClient, Writer } from '../../../chain/index.ts';
import type { AnchorChain, AnchorContract } from '../../anchoring/anchor-chain.ts';
import { findBySize, readAnchor, readLatest } from './anchors.ts';
import { capture } from './evidence.ts';
import { findMined, readStanding } from './mined.ts';
import { type SubmitContext, submit, toSubmission } from './submit.ts';
import { VERSION_ANCHOR_CODE_HASH, versionAnchorAbi } from './version-anchor-abi.ts';

export type EvmAnchorChainDeps = {
  client: ChainClient;
  /** Of a wallet that does nothing else, and that the contracts take roots from. */
  writer: Writer;
  /** The most that is paid for one unit of gas, wei; the writer's own bound. */
  feeMaxWei: bigint;
  /** Lower case hex. */
  contracts: { versions?: Hex; receipts?: Hex };
};

/** VersionAnchor contracts on one EVM chain. */
export function createEvmAnchorChain(deps: EvmAnchorChainDeps): AnchorChain {
  const { client, writer, contracts } = deps;
  const { versions, receipts } = contracts;
  return {
    chainId: client.chainId,
    contracts: {
      ...(versions && { versions: createContract(deps, versions) }),
      ...(receipts && { receipts: createContract(deps, receipts) }),
    },
    async resume(signal) {
      await writer.resume(signal);
    },
  };
}

function createContract({ client, writer, feeMaxWei }: EvmAnchorChainDeps, address: Hex): AnchorContract {
  const context: SubmitContext = { client, writer, feeMaxWei, address };
  return {
    address,
    readOrigin: (signal) => readOrigin(context, signal),
    readLatest: (signal) => readLatest(context, signal),
    readAnchor: (anchorIndex, signal) => readAnchor(context, anchorIndex, signal),
    findBySize: (treeSize, signal) => findBySize(context, treeSize, signal),
    submit: (ref, request, signal) => submit(context, ref, request, signal),
    async follow(ref, signal) {
      const outcome = await writer.find(ref, signal);
      return outcome && toSubmission(context, outcome, signal);
    },
    findMined: async (ref, held, signal) => findMined(context, held, await writer.find(ref, signal), signal),
    readStanding: (block, signal) => readStanding(context, block, signal),
    capture: (held, block, signal) => capture(context, held, block, signal),
  };
}

/** Other code could forget roots, or keep them where no proof finds them. */
async function readOrigin({ client, address }: SubmitContext, signal: AbortSignal): Promise<string> {
  const rpc = client.within(signal);
  const chainId = await getChainId(rpc);
  if (chainId !== client.chainId) {
    throw new Error(`the node is of chain ${chainId}, and ${client.chainId} is configured`);
  }
  const code = await getCode(rpc, { address });
  if (code === undefined) throw new Error(`there is no contract at ${address}`);
  if (keccak256(code) !== VERSION_ANCHOR_CODE_HASH) {
    throw new Error(`the code at ${address} is not that of a VersionAnchor`);
  }
  return readContract(rpc, { address, abi: versionAnchorAbi, functionName: 'origin' });
}
