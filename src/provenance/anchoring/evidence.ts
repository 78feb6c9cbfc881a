import { readAccount, readHeader, readSlot } from '../bundle/ethereum/state.ts';
import { anchorSlots, unpackAnchor } from '../bundle/ethereum/version-anchor.ts';
import type { Evidence, HeldAnchor } from './anchor-chain.ts';

/**
 * Holds evidence against what it is to prove, as whoever gets it in a bundle will: throws with a reason when a node
 * answered with proofs that prove something else. The block's own place on the chain is not looked at.
 */
export function checkEvidence(evidence: Evidence, input: { contract: string; held: HeldAnchor }): void {
  const { held, contract } = input;
  const { proof } = evidence;
  const header = readHeader(evidence.header);
  expectSame(header.hash, proof.blockHash, 'the header is of another block');
  expectSame(header.number, BigInt(proof.blockNumber), 'the header has another number');
  const account = readAccount(header.stateRoot, {
    address: toBytes(contract),
    nodes: proof.account.map(toBytes),
  });
  const [root = 0n, facts = 0n] = anchorSlots(held.anchorIndex).map((slot, at) => {
    const nodes = proof.storage[at]?.proof.map(toBytes) ?? [];
    return readSlot(account.storageRoot, { slot, nodes });
  });
  const proven = unpackAnchor(root, facts);
  expectSame(proven.root.toString('hex'), held.root.toString('hex'), 'the proof is of another root');
  expectSame(proven.treeSize, held.treeSize, 'the proof is of another tree size');
  expectSame(proven.time, held.blockTime, 'the proof is of another time');
}

function toBytes(hex: string): Buffer {
  return Buffer.from(hex.slice(2), 'hex');
}

function expectSame(given: unknown, expected: unknown, otherwise: string): void {
  if (given !== expected) throw new Error(otherwise);
}
