import { BaseError, encodeFunctionData, formatGwei, type Hex, toHex } from 'viem';
import { estimateContractGas, getBlock } from 'viem/actions';
import { FeesTooHighError, readWalletHealth, type WriteOutcome, type Writer } from '../../../chain/index.ts';
import type { AnchorRequest, Submission } from '../../anchoring/anchor-chain.ts';
import { type ContractContext, refusalOf } from './anchors.ts';
import { versionAnchorAbi } from './version-anchor-abi.ts';

export type SubmitContext = ContractContext & { writer: Writer; feeMaxWei: bigint };

const DETAIL_CHARS_MAX = 200;

/** Tries the call before it is signed, so that nothing is paid for what the contract would refuse. */
export async function submit(
  context: SubmitContext,
  ref: string,
  request: AnchorRequest,
  signal: AbortSignal,
): Promise<Submission> {
  const { client, writer, address } = context;
  const args: [bigint, bigint, Hex, Hex[]] = [
    ...([BigInt(request.prevSize), BigInt(request.treeSize)] as const),
    toHex(request.root),
    request.proof.map((hash) => toHex(hash)),
  ];
  const call = { address, abi: versionAnchorAbi, functionName: 'anchor', args } as const;
  const estimate = estimateContractGas(client.within(signal), { ...call, account: writer.address });
  const gas = await estimate.catch((error: unknown) => {
    const refusal = refusalOf(error);
    if (refusal === undefined) throw error;
    return refusal;
  });
  if (typeof gas === 'string') {
    return { kind: 'waiting', detail: `the contract would refuse the anchor from ${writer.address}: ${gas}` };
  }
  const gasLimit = (gas * 5n) / 4n;
  const wallet = await readWalletHealth(
    client,
    { address: writer.address, gas: gasLimit, transactionsMin: 1 },
    signal,
  );
  if (wallet.kind === 'empty') {
    return { kind: 'waiting', detail: `the wallet ${writer.address} cannot pay for an anchor` };
  }
  const data = encodeFunctionData(call);
  return toSubmission(context, await writer.send({ ref, to: address, data, gasLimit }, signal), signal);
}

export async function toSubmission(
  context: SubmitContext,
  outcome: WriteOutcome,
  signal: AbortSignal,
): Promise<Submission> {
  switch (outcome.kind) {
    case 'mined':
      return {
        kind: 'sent',
        detail: `${outcome.hash} has a receipt, and the contract does not hold the root yet`,
      };
    case 'reverted':
      return { kind: 'reverted', detail: `${outcome.hash} was mined and did nothing` };
    case 'unknown': {
      const { hash, cause } = outcome;
      if (hash === undefined) return { kind: 'waiting', detail: describe(cause) };
      const dear = await describeFees(context, signal);
      return { kind: 'sent', detail: `${hash} is not mined yet${dear}` };
    }
    default:
      return outcome satisfies never;
  }
}

/** What a chain asks that is more than may be paid is why nothing moves. */
async function describeFees({ client, feeMaxWei }: SubmitContext, signal: AbortSignal): Promise<string> {
  const block = await getBlock(client.within(signal), { blockTag: 'latest' }).catch(() => undefined);
  const price = block?.baseFeePerGas ?? 0n;
  if (price <= feeMaxWei) return '';
  return `: gas costs ${formatGwei(price)} gwei, at most ${formatGwei(feeMaxWei)} is paid`;
}

function describe(cause: unknown): string {
  if (cause instanceof FeesTooHighError) return cause.message;
  const text =
    cause instanceof BaseError ? cause.shortMessage : cause instanceof Error ? cause.message : 'unknown';
  return `nothing is signed yet: ${text.split('\n')[0]?.slice(0, DETAIL_CHARS_MAX)}`;
}
