import { MerkleTree } from 'merkletreejs';
import { sha256 } from '../../core/bytes.ts';
import type { Hash, InclusionClaim } from '../merkle/merkle.ts';

const HASH_BYTES = 32;
const LEAF_PREFIX = Uint8Array.of(0x00);
const NODE_PREFIX = Uint8Array.of(0x01);

/** RFC 6962, section 2.1. Nothing here leans on our own tree: both have to be wrong in the same way to agree. */
export function secondLeafHash(entry: Uint8Array): Hash {
  return sha256(LEAF_PREFIX, entry);
}

function hashPair(pair: Buffer): Hash {
  return sha256(NODE_PREFIX, pair);
}

/** The root over these hashes, one at least, by merkletreejs. */
export function secondRoot(hashes: readonly Hash[]): Hash {
  return new MerkleTree([...hashes], hashPair).getRoot();
}

/**
 * Whether the path leads from the leaf to the root, by merkletreejs. By itself it would take an inner node for a leaf
 * and a path of any length: which side each sibling is on, and how many there are, follow from index and size here.
 */
export function verifySecondInclusion(claim: InclusionClaim): boolean {
  const { index, treeSize, leafHash, path, root } = claim;
  const sides = sidesOf(index, treeSize);
  if (sides?.length !== path.length) return false;
  if (![leafHash, root, ...path].every((hash) => hash.length === HASH_BYTES)) return false;
  const proof = path.map((data, at) => ({ position: sides[at] ?? 'left', data }));
  return MerkleTree.verify(proof, leafHash, root, hashPair);
}

/**
 * On which side of the path to a leaf each sibling stands, from the bottom up. The tree splits at the largest power of
 * two below its size (RFC 6962, section 2.1), which is followed down from the root here and up from the leaf in
 * `merkle/`.
 */
export function sidesOf(index: number, treeSize: number): ('left' | 'right')[] | undefined {
  if (!Number.isSafeInteger(treeSize) || !Number.isSafeInteger(index) || index < 0 || index >= treeSize) {
    return undefined;
  }
  const sides: ('left' | 'right')[] = [];
  let [position, size] = [index, treeSize];
  while (size > 1) {
    let half = 1;
    while (half * 2 < size) half *= 2;
    const isLeft = position < half;
    sides.unshift(isLeft ? 'right' : 'left');
    if (!isLeft) position -= half;
    size = isLeft ? half : size - half;
  }
  return sides;
}
