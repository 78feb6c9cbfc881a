import { type Hex, keccak256, numberToHex, pad } from 'viem';
import { z } from 'zod';
import type { Evidence, HeldAnchor } from '../../anchoring/anchor-chain.ts';
import type { ContractContext } from './anchors.ts';
import { rebuildHeader } from './header.ts';
import { ANCHORS_SLOT } from './version-anchor-abi.ts';

const hex = z
  .string()
  .regex(/^0x[0-9a-fA-F]*$/)
  .transform((text): Hex => `0x${text.slice(2).toLowerCase()}`);
const proofSchema = z.object({
  accountProof: z.array(hex),
  storageProof: z.array(z.object({ key: hex, value: hex, proof: z.array(hex) })).length(2),
});
const blockSchema = z.looseObject({ hash: hex, number: hex });

/** The state of an anchor's two slots at a block, or at the newest where the node forgot that one. */
export async function capture(
  context: ContractContext,
  held: HeldAnchor,
  block: { blockHash: string },
  signal: AbortSignal,
): Promise<Evidence> {
  const { client } = context;
  const request = client.within(signal).request as Request;
  const read = async (method: 'eth_getBlockByHash' | 'eth_getBlockByNumber', name: string) =>
    captureAt(context, held, request, await request({ method, params: [name, false] }));
  try {
    return await read('eth_getBlockByHash', block.blockHash);
  } catch {
    // What is wrong with both is thrown by the second.
    return await read('eth_getBlockByNumber', 'latest');
  }
}

/** As `client.request` is, without the types of the answers: they are parsed, and viem's leave fields of headers out. */
type Request = (call: { method: string; params: unknown[] }) => Promise<unknown>;

async function captureAt(
  context: ContractContext,
  held: HeldAnchor,
  request: Request,
  answer: unknown,
): Promise<Evidence> {
  const block = blockSchema.parse(answer);
  const header = rebuildHeader(block, block.hash);
  if (!header) throw new Error('the header of the block cannot be rebuilt from what the node tells of it');
  const keys = slotsOf(held.anchorIndex);
  const proof = proofSchema.parse(
    await request({ method: 'eth_getProof', params: [context.address, keys, block.number] }),
  );
  return {
    header: Buffer.from(header.slice(2), 'hex'),
    proof: {
      blockNumber: Number(block.number),
      blockHash: block.hash,
      account: proof.accountProof,
      storage: proof.storageProof.map((slot, at) => ({ ...slot, key: keys[at] ?? slot.key })),
    },
  };
}

/** Where the list keeps an anchor: its root, and then its size, time and block number in one word. */
function slotsOf(anchorIndex: number): [Hex, Hex] {
  const first = BigInt(keccak256(pad(numberToHex(ANCHORS_SLOT)))) + 2n * BigInt(anchorIndex);
  return [pad(numberToHex(first)), pad(numberToHex(first + 1n))];
}
