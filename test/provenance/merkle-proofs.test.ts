import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type ConsistencyClaim,
  consistencyProof,
  type Hash,
  inclusionPath,
  inclusionProof,
  leafHashOf,
  merkleRoot,
  type NodeReader,
  nodeHashOf,
  rangeHash,
  verifyConsistency,
  verifyInclusion,
} from '../../src/provenance/index.ts';
import vectors from '../vectors/rfc6962.json' with { type: 'json' };

const LEAVES = Array.from({ length: 300 }, (_, at) => leafHashOf(`leaf ${at}`));
const REFERENCE = vectors.leaves.map((leaf) => leafHashOf(Buffer.from(leaf, 'hex')));

/** Reads the full subtrees of these leaves, and refuses any that is not full. */
function readerOf(leaves: readonly Hash[]): NodeReader {
  return function read(level, index): Hash {
    const size = 2 ** level;
    const part = leaves.slice(index * size, (index + 1) * size);
    if (part.length !== size) throw new Error(`there is no full subtree ${level}/${index}`);
    return merkleRoot(part);
  };
}

function claimConsistency(leaves: readonly Hash[], fromSize: number, toSize: number): ConsistencyClaim {
  return {
    fromSize,
    toSize,
    fromRoot: merkleRoot(leaves.slice(0, fromSize)),
    toRoot: merkleRoot(leaves.slice(0, toSize)),
    path: consistencyProof(readerOf(leaves.slice(0, toSize)), fromSize, toSize),
  };
}

/** A tree whose every full subtree is told by its place, so that sizes need not be built. */
const vast: NodeReader = (level, index) => leafHashOf(`${level}/${index}`);

describe('proofs from full subtrees', () => {
  it('give the root of every size, reading nothing but full subtrees', () => {
    for (let size = 0; size <= LEAVES.length; size++) {
      const leaves = LEAVES.slice(0, size);
      expect(rangeHash(readerOf(leaves), 0, size)).toEqual(merkleRoot(leaves));
    }
  });

  it('give the inclusion path that the whole tree gives, for every leaf of every size', () => {
    for (let size = 1; size <= 70; size++) {
      const leaves = LEAVES.slice(0, size);
      leaves.forEach((_, index) => {
        expect(inclusionProof(readerOf(leaves), index, size)).toEqual(inclusionPath(leaves, index));
      });
    }
  });

  it.each(vectors.consistency)('give the consistency proof of RFC 6962 from $first to $second', (vector) => {
    const proof = consistencyProof(readerOf(REFERENCE), vector.first, vector.second);
    expect(proof.map((hash) => hash.toString('hex'))).toEqual(vector.proof);
  });

  it('refuse a leaf that is not there and a size that comes later', () => {
    for (const [index, size] of [
      [5, 5],
      [-1, 5],
      [0.5, 5],
      [0, 0],
      [Number.NaN, 5],
    ] as const) {
      expect(() => inclusionProof(vast, index, size)).toThrow(RangeError);
    }
    expect(() => consistencyProof(vast, 6, 5)).toThrow(RangeError);
    expect(() => consistencyProof(vast, -1, 5)).toThrow(RangeError);
    expect(() => consistencyProof(vast, 1, Number.NaN)).toThrow(RangeError);
  });
});

describe('a consistency proof', () => {
  it('holds between any two sizes up to 90, and from no other size or root', () => {
    for (let toSize = 1; toSize <= 90; toSize++) {
      for (let fromSize = 1; fromSize <= toSize; fromSize++) {
        const claim = claimConsistency(LEAVES, fromSize, toSize);
        expect(verifyConsistency(claim)).toBe(true);
        if (fromSize === toSize) continue;
        expect(verifyConsistency({ ...claim, fromSize: fromSize + 1 })).toBe(false);
        expect(verifyConsistency({ ...claim, fromRoot: claim.toRoot })).toBe(false);
        expect(verifyConsistency({ ...claim, toRoot: claim.fromRoot })).toBe(false);
        expect(verifyConsistency({ ...claim, path: claim.path.slice(1) })).toBe(false);
        expect(verifyConsistency({ ...claim, path: claim.path.slice(0, -1) })).toBe(false);
        expect(verifyConsistency({ ...claim, path: [...claim.path, claim.toRoot] })).toBe(false);
      }
    }
  });

  it('does not lead from a log whose past was rewritten, whichever leaf it was', () => {
    const property = fc.property(
      fc.integer({ min: 2, max: 300 }).chain((toSize) => fc.tuple(fc.constant(toSize), fc.nat(toSize - 2))),
      fc.nat(),
      ([toSize, before], which) => {
        const fromSize = before + 1;
        const rewritten = LEAVES.with(which % fromSize, leafHashOf('another past'));
        const claim = claimConsistency(rewritten, fromSize, toSize);
        expect(verifyConsistency(claim)).toBe(true);
        const fromRoot = merkleRoot(LEAVES.slice(0, fromSize));
        expect(verifyConsistency({ ...claim, fromRoot })).toBe(false);
      },
    );
    fc.assert(property, { numRuns: 150 });
  });

  it('between equal sizes is empty and needs equal roots', () => {
    const claim = claimConsistency(LEAVES, 7, 7);
    expect(claim.path).toEqual([]);
    expect(verifyConsistency(claim)).toBe(true);
    expect(verifyConsistency({ ...claim, path: [claim.toRoot] })).toBe(false);
    expect(verifyConsistency({ ...claim, fromRoot: leafHashOf('x') })).toBe(false);
  });

  it('from size 0 proves nothing, whatever comes with it', () => {
    const claim = { ...claimConsistency(LEAVES, 1, 8), fromSize: 0, fromRoot: merkleRoot([]) };
    expect(verifyConsistency(claim)).toBe(false);
    expect(verifyConsistency({ ...claim, path: [] })).toBe(false);
    expect(verifyConsistency({ ...claim, toSize: 0, toRoot: merkleRoot([]), path: [] })).toBe(false);
  });
});

describe('proofs in trees of up to 2^53 - 1 leaves', () => {
  const size = fc.integer({ min: 2, max: Number.MAX_SAFE_INTEGER });

  it('are verified past 32 bits, and not in a tree one larger', () => {
    const property = fc.property(size, fc.double({ min: 0, max: 0.999, noNaN: true }), (treeSize, at) => {
      const index = Math.floor(at * treeSize);
      const leafHash = vast(0, index);
      const path = inclusionProof(vast, index, treeSize);
      // No real tree is behind the subtrees, so the root is the one that the path leads to.
      const root = climbByHand(leafHash, path, sidesOf(index, treeSize));
      const claim = { index, treeSize, leafHash, path, root };
      expect(verifyInclusion(claim)).toBe(true);
      expect(verifyInclusion({ ...claim, path: claim.path.slice(1) })).toBe(false);
      expect(verifyInclusion({ ...claim, index: index === 0 ? 1 : index - 1 })).toBe(false);
    });
    fc.assert(property, { numRuns: 300 });
  });

  it('never take 2^32 + 1 for 1', () => {
    const claim = claimConsistency(LEAVES, 1, 8);
    expect(verifyConsistency({ ...claim, toSize: 2 ** 32 + 8 })).toBe(false);
    expect(verifyConsistency({ ...claim, fromSize: 2 ** 32 + 1, toSize: 2 ** 32 + 8 })).toBe(false);
    const leafHash = LEAVES[0] ?? Buffer.alloc(0);
    const inclusion = { index: 0, treeSize: 1, leafHash, path: [], root: leafHash };
    expect(verifyInclusion(inclusion)).toBe(true);
    expect(verifyInclusion({ ...inclusion, index: 2 ** 32, treeSize: 2 ** 32 + 1 })).toBe(false);
  });
});

describe('what a stranger calls a proof', () => {
  const inclusion = {
    ...{
      index: 3,
      treeSize: 8,
      leafHash: LEAVES[3] ?? Buffer.alloc(0),
      root: merkleRoot(LEAVES.slice(0, 8)),
    },
    path: inclusionPath(LEAVES.slice(0, 8), 3),
  };
  const consistency = claimConsistency(LEAVES, 3, 8);
  const nonsense = [
    null,
    undefined,
    'x',
    0.5,
    [],
    {},
    Buffer.alloc(31),
    Buffer.alloc(33),
    Number.NaN,
    -1,
    2 ** 60,
  ];
  const long = Array.from({ length: 1_000_000 }, () => Buffer.alloc(32));

  it.each(['index', 'treeSize', 'leafHash', 'path', 'root'] as const)(
    'is no inclusion proof with nonsense as its %s, and nothing is thrown',
    (member) => {
      expect(verifyInclusion(inclusion)).toBe(true);
      for (const value of [...nonsense, long]) {
        const claim: unknown = { ...inclusion, [member]: value };
        expect(verifyInclusion(claim as typeof inclusion)).toBe(false);
      }
    },
  );

  it.each(['fromSize', 'toSize', 'fromRoot', 'toRoot', 'path'] as const)(
    'is no consistency proof with nonsense as its %s, and nothing is thrown',
    (member) => {
      expect(verifyConsistency(consistency)).toBe(true);
      for (const value of [...nonsense, long, [null], [Buffer.alloc(31)]]) {
        const claim: unknown = { ...consistency, [member]: value };
        expect(verifyConsistency(claim as typeof consistency)).toBe(false);
      }
    },
  );

  it('is no proof when an inner node is offered as a leaf (second preimage)', () => {
    const leaves = LEAVES.slice(0, 8);
    const inner = merkleRoot(leaves.slice(2, 4));
    const [, ...path] = inclusionPath(leaves, 3);
    const root = merkleRoot(leaves);
    // As a tree of half the size, whose leaves the nodes of the first level would be, the hashes do climb up ...
    expect(verifyInclusion({ index: 1, treeSize: 4, leafHash: inner, path, root })).toBe(true);
    // ... but no entry has that hash: the prefix of a leaf is another than that of a node.
    const bytes = Buffer.concat(leaves.slice(2, 4));
    expect(leafHashOf(bytes)).not.toEqual(inner);
    expect(verifyInclusion({ index: 1, treeSize: 4, leafHash: leafHashOf(bytes), path, root })).toBe(false);
    expect(verifyInclusion({ index: 2, treeSize: 8, leafHash: inner, path, root })).toBe(false);
  });
});

/** On which side each sibling of the path stands, from the leaf up, by the definition of the tree. */
function sidesOf(index: number, treeSize: number): ('left' | 'right')[] {
  if (treeSize <= 1) return [];
  let split = 1;
  while (split * 2 < treeSize) split *= 2;
  return index < split
    ? [...sidesOf(index, split), 'right']
    : [...sidesOf(index - split, treeSize - split), 'left'];
}

function climbByHand(leaf: Hash, path: readonly Hash[], sides: readonly ('left' | 'right')[]): Hash {
  expect(sides).toHaveLength(path.length);
  return path.reduce(
    (hash, sibling, at) => (sides[at] === 'left' ? nodeHashOf(sibling, hash) : nodeHashOf(hash, sibling)),
    leaf,
  );
}
