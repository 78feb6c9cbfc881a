import { hash as hashAtOnce } from 'node:crypto';
import { EMPTY_ROOT, HASH_BYTES, type Hash } from './hash.ts';
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
  const level = Buffer.allocUnsafe((to - from) * HASH_BYTES);
  for (let at = from; at < to; at++) level.set(leafHashes[at] ?? EMPTY_ROOT, (at - from) * HASH_BYTES);
  return foldInPlace(level);
}

/** The same of hashes that stand one after another. */
export function merkleRootOf(leafHashes: Buffer): Hash {
  return foldInPlace(Buffer.from(leafHashes));
}

/** 0x01 and two hashes. */
const node = Buffer.alloc(1 + 2 * HASH_BYTES, 0x01);

/**
 * Pairs of neighbours, level by level, and one that has none goes up as it is: the tree of section 2.1, without an
 * object for each node.
 */
function foldInPlace(level: Buffer): Hash {
  let nodes = level.length / HASH_BYTES;
  if (nodes === 0) return EMPTY_ROOT;
  for (; nodes > 1; nodes = Math.ceil(nodes / 2)) {
    for (let at = 0; at + 1 < nodes; at += 2) {
      level.copy(node, 1, at * HASH_BYTES, (at + 2) * HASH_BYTES);
      level.write(hashAtOnce('sha256', node, 'binary'), (at / 2) * HASH_BYTES, 'latin1');
    }
    if (nodes % 2 === 1)
      level.copyWithin(((nodes - 1) / 2) * HASH_BYTES, (nodes - 1) * HASH_BYTES, nodes * HASH_BYTES);
  }
  return Buffer.from(level.subarray(0, HASH_BYTES));
}
