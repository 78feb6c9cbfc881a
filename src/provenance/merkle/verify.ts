import { type Hash, isHash, nodeHashOf } from './hash.ts';
import { exponentOf } from './split.ts';

/** No tree below 2^53 leaves has a longer path, and a consistency proof has one hash more at most. */
const PATH_HASHES_MAX = 64;

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
  if (!isCount(treeSize) || !isCount(index) || index >= treeSize) return false;
  if (!isPath(path) || !isHash(leafHash) || !isHash(root)) return false;
  let hash = leafHash;
  const climb = createClimb(index, treeSize - 1);
  for (const sibling of path) {
    if (climb.isAtRoot()) return false;
    hash = climb.step() === 'left' ? nodeHashOf(sibling, hash) : nodeHashOf(hash, sibling);
  }
  return climb.isAtRoot() && isSame(hash, root);
}

export type ConsistencyClaim = {
  fromSize: number;
  toSize: number;
  fromRoot: Hash;
  toRoot: Hash;
  path: readonly Hash[];
};

/**
 * Whether the path proves that the larger tree begins with the smaller one (RFC 9162, section 2.1.4.2). A claim
 * from size 0 is unproven, because there is nothing that it holds against: who meets a log first trusts what it
 * sees. Never throws: nonsense is an unproven claim.
 */
export function verifyConsistency(claim: ConsistencyClaim): boolean {
  const { fromSize, toSize, fromRoot, toRoot, path } = claim;
  if (!isCount(fromSize) || !isCount(toSize) || fromSize === 0 || fromSize > toSize) return false;
  if (!isPath(path) || !isHash(fromRoot) || !isHash(toRoot)) return false;
  if (fromSize === toSize) return path.length === 0 && isSame(fromRoot, toRoot);
  const [seed, ...rest] = exponentOf(fromSize) === undefined ? path : [fromRoot, ...path];
  if (!seed || path.length === 0) return false;
  let [from, to] = [seed, seed];
  const climb = createClimb(fromSize - 1, toSize - 1);
  climb.leaveRightEdges();
  for (const sibling of rest) {
    if (climb.isAtRoot()) return false;
    if (climb.step() === 'left') {
      from = nodeHashOf(sibling, from);
      to = nodeHashOf(sibling, to);
    } else {
      to = nodeHashOf(to, sibling);
    }
  }
  return climb.isAtRoot() && isSame(from, fromRoot) && isSame(to, toRoot);
}

/** `fn` and `sn` of RFC 9162, halved without bit operators, which end at 32 bits. */
function createClimb(node: number, lastNode: number) {
  let position = node;
  let last = lastNode;
  function rise(): void {
    position = Math.floor(position / 2);
    last = Math.floor(last / 2);
  }
  return {
    isAtRoot: () => last === 0,
    /** Up to where the node is a left child: the full subtree that a smaller tree ends with. */
    leaveRightEdges(): void {
      while (position % 2 === 1) rise();
    },
    /** One level up; answers the side on which the sibling stands. */
    step(): 'left' | 'right' {
      const side = position % 2 === 1 || position === last ? 'left' : 'right';
      // At the right edge, levels on which the node has no sibling are skipped.
      if (side === 'left') while (position % 2 === 0 && position !== 0) rise();
      rise();
      return side;
    },
  };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isPath(path: unknown): path is readonly Hash[] {
  return Array.isArray(path) && path.length <= PATH_HASHES_MAX && path.every(isHash);
}

function isSame(a: Hash, b: Hash): boolean {
  return Buffer.compare(a, b) === 0;
}
