import { EMPTY_ROOT, type Hash, nodeHashOf } from './hash.ts';
import { exponentOf, splitOf } from './split.ts';

/** The root of the full subtree of 2^level leaves that starts at leaf `index * 2^level`. */
export type NodeReader = (level: number, index: number) => Hash;

/** The root over the leaves from `from` up to, but not including, `to`, which a full subtree starts at. */
export function rangeHash(read: NodeReader, from: number, to: number): Hash {
  const size = to - from;
  if (size === 0) return EMPTY_ROOT;
  const level = exponentOf(size);
  if (level !== undefined) return read(level, from / size);
  const middle = from + splitOf(size);
  return nodeHashOf(rangeHash(read, from, middle), rangeHash(read, middle, to));
}

/** RFC 9162, section 2.1.3.1: the leaf's sibling first. */
export function inclusionProof(read: NodeReader, leafIndex: number, treeSize: number): Hash[] {
  if (!Number.isSafeInteger(leafIndex) || leafIndex < 0 || !(leafIndex < treeSize)) {
    throw new RangeError(`no leaf ${leafIndex} in a tree of ${treeSize}`);
  }
  const path: Hash[] = [];
  let [from, to] = [0, treeSize];
  while (to - from > 1) {
    const middle = from + splitOf(to - from);
    if (leafIndex < middle) {
      path.push(rangeHash(read, middle, to));
      to = middle;
    } else {
      path.push(rangeHash(read, from, middle));
      from = middle;
    }
  }
  return path.reverse();
}

/** RFC 9162, section 2.1.4.1; empty from size 0 and between equal sizes. */
export function consistencyProof(read: NodeReader, fromSize: number, toSize: number): Hash[] {
  if (!Number.isSafeInteger(fromSize) || fromSize < 0 || !(fromSize <= toSize)) {
    throw new RangeError(`a tree of ${fromSize} does not come before one of ${toSize}`);
  }
  if (fromSize === 0 || fromSize === toSize) return [];
  const path: Hash[] = [];
  let [from, to] = [0, toSize];
  while (to !== fromSize) {
    const middle = from + splitOf(to - from);
    if (fromSize <= middle) {
      path.push(rangeHash(read, middle, to));
      to = middle;
    } else {
      path.push(rangeHash(read, from, middle));
      from = middle;
    }
  }
  // A smaller tree that is a full subtree of the larger one from its start is known to who asks: its root.
  if (from > 0) path.push(rangeHash(read, from, to));
  return path.reverse();
}
