import { EMPTY_ROOT, type Hash, nodeHashOf } from './hash.ts';
import { splitOf } from './split.ts';

/** The Merkle tree hash of these leaf hashes, in order (RFC 6962, section 2.1). */
export function merkleRoot(leafHashes: readonly Hash[]): Hash {
  return rootBetween(leafHashes, 0, leafHashes.length);
}

/** The hashes that lead from one leaf up to the root, the leaf's sibling first (RFC 6962, section 2.1.1). */
export function inclusionPath(leafHashes: readonly Hash[], index: number): Hash[] {
  if (!Number.isInteger(index) || index < 0 || index >= leafHashes.length) {
    throw new RangeError(`no leaf ${index} among ${leafHashes.length}`);
  }
  const path: Hash[] = [];
  let [from, to] = [0, leafHashes.length];
  while (to - from > 1) {
    const middle = from + splitOf(to - from);
    const isLeft = index < middle;
    path.push(isLeft ? rootBetween(leafHashes, middle, to) : rootBetween(leafHashes, from, middle));
    if (isLeft) to = middle;
    else from = middle;
  }
  return path.reverse();
}

function rootBetween(leafHashes: readonly Hash[], from: number, to: number): Hash {
  const first = leafHashes[from];
  if (to === from || !first) return EMPTY_ROOT;
  if (to - from === 1) return first;
  const middle = from + splitOf(to - from);
  return nodeHashOf(rootBetween(leafHashes, from, middle), rootBetween(leafHashes, middle, to));
}
