import { sha256 } from '../../core/bytes.ts';

/** A SHA-256 hash, 32 bytes. */
export type Hash = Buffer;

const HASH_BYTES = 32;
const LEAF_PREFIX = Uint8Array.of(0x00);
const NODE_PREFIX = Uint8Array.of(0x01);

/** The hash of a leaf (RFC 6962, section 2.1); its prefix keeps a node from passing as a leaf. */
export function leafHashOf(entry: Uint8Array | string): Hash {
  return sha256(LEAF_PREFIX, entry);
}

export function nodeHashOf(left: Hash, right: Hash): Hash {
  return sha256(NODE_PREFIX, left, right);
}

/** The Merkle tree hash of these leaf hashes, in order (RFC 6962, section 2.1). */
export function merkleRoot(leafHashes: readonly Hash[]): Hash {
  const first = leafHashes[0];
  if (!first) return sha256();
  if (leafHashes.length === 1) return first;
  const split = splitOf(leafHashes.length);
  return nodeHashOf(merkleRoot(leafHashes.slice(0, split)), merkleRoot(leafHashes.slice(split)));
}

/** The hashes that lead from one leaf up to the root, the leaf's sibling first (RFC 6962, section 2.1.1). */
export function inclusionPath(leafHashes: readonly Hash[], index: number): Hash[] {
  if (!Number.isInteger(index) || index < 0 || index >= leafHashes.length) {
    throw new RangeError(`no leaf ${index} among ${leafHashes.length}`);
  }
  if (leafHashes.length === 1) return [];
  const split = splitOf(leafHashes.length);
  const left = leafHashes.slice(0, split);
  const right = leafHashes.slice(split);
  return index < split
    ? [...inclusionPath(left, index), merkleRoot(right)]
    : [...inclusionPath(right, index - split), merkleRoot(left)];
}

/** The hashes that stand one after another in these bytes. */
export function splitHashes(bytes: Buffer): Hash[] {
  return Array.from({ length: bytes.length / HASH_BYTES }, (_, at) =>
    bytes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
  );
}

export type InclusionClaim = {
  index: number;
  treeSize: number;
  leafHash: Hash;
  path: readonly Hash[];
  root: Hash;
};

/**
 * Whether the path proves the leaf at that index of a tree of that size (RFC 9162, section 2.1.3.2). Never
 * throws: nonsense is an unproven claim.
 */
export function verifyInclusion(claim: InclusionClaim): boolean {
  const { index, treeSize, leafHash, path, root } = claim;
  if (!Number.isSafeInteger(treeSize) || !Number.isSafeInteger(index) || index < 0 || index >= treeSize) {
    return false;
  }
  if (![leafHash, root, ...path].every((hash) => hash.length === HASH_BYTES)) return false;
  let hash = leafHash;
  let position = index;
  let last = treeSize - 1;
  for (const sibling of path) {
    if (last === 0) return false;
    if (position % 2 === 1 || position === last) {
      hash = nodeHashOf(sibling, hash);
      // At the right edge, levels on which the node has no sibling are skipped.
      while (position % 2 === 0 && position !== 0) {
        position = Math.floor(position / 2);
        last = Math.floor(last / 2);
      }
    } else {
      hash = nodeHashOf(hash, sibling);
    }
    position = Math.floor(position / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && hash.equals(root);
}

/** The largest power of two below `size`: how many leaves the left subtree holds. */
function splitOf(size: number): number {
  let split = 1;
  while (split * 2 < size) split *= 2;
  return split;
}
