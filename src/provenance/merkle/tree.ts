import { EMPTY_ROOT, type Hash, nodeHashOf } from './hash.ts';
import { splitOf } from './split.ts';

/** The Merkle tree hash of these leaf hashes, in order (RFC 6962, section 2.1). */
export function merkleRoot(leafHashes: readonly Hash[]): Hash {
  const first = leafHashes[0];
  if (!first) return EMPTY_ROOT;
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
