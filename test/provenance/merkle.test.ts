import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Hash,
  inclusionPath,
  leafHashOf,
  merkleRoot,
  nodeHashOf,
  verifyInclusion,
} from '../../src/provenance/index.ts';
import vectors from '../vectors/rfc6962.json' with { type: 'json' };

const LEAVES = vectors.leaves.map((leaf) => leafHashOf(Buffer.from(leaf, 'hex')));

function createLeaves(count: number): Hash[] {
  return Array.from({ length: count }, (_, at) => leafHashOf(`leaf ${at}`));
}

describe('the Merkle tree', () => {
  it.each(vectors.roots.map((root, size) => ({ root, size })))(
    'of the $size first reference leaves has the root of RFC 6962',
    ({ root, size }) => {
      expect(merkleRoot(LEAVES.slice(0, size)).toString('hex')).toBe(root);
    },
  );

  it.each(vectors.inclusion)('proves reference leaf $index of $size by the path of RFC 6962', (vector) => {
    const leaves = LEAVES.slice(0, vector.size);
    expect(inclusionPath(leaves, vector.index).map((hash) => hash.toString('hex'))).toEqual(vector.path);
  });

  it('proves every leaf of every size up to 130, and none at another index or in another size', () => {
    for (let treeSize = 1; treeSize <= 130; treeSize++) {
      const leaves = createLeaves(treeSize);
      const root = merkleRoot(leaves);
      leaves.forEach((leafHash, index) => {
        const path = inclusionPath(leaves, index);
        const claim = { index, treeSize, leafHash, path, root };
        expect(verifyInclusion(claim)).toBe(true);
        expect(verifyInclusion({ ...claim, index: (index + 1) % (treeSize + 1) })).toBe(false);
        if (path.length > 0) expect(verifyInclusion({ ...claim, path: path.slice(1) })).toBe(false);
        expect(verifyInclusion({ ...claim, path: [...path, root] })).toBe(false);
      });
    }
  });

  it('proves nothing once a bit of leaf, path or root is changed', () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 300 }).chain((size) => fc.tuple(fc.constant(size), fc.nat(size - 1))),
      fc.nat(),
      fc.nat(255),
      ([treeSize, index], which, bit) => {
        const leaves = createLeaves(treeSize);
        const hashes = [leaves[index] ?? leafHashOf(''), merkleRoot(leaves), ...inclusionPath(leaves, index)];
        const changed = hashes.map((hash) => Buffer.from(hash));
        const target = changed[which % changed.length] ?? Buffer.alloc(32);
        target[bit >> 3] = (target[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const [leafHash = target, root = target, ...path] = changed;
        expect(verifyInclusion({ index, treeSize, leafHash, path, root })).toBe(false);
      },
    );
    fc.assert(property, { numRuns: 200 });
  });

  it('never takes an inner node for a leaf', () => {
    const leaves = createLeaves(4);
    const [a, b, c, d] = leaves as [Hash, Hash, Hash, Hash];
    const inner = Buffer.concat([a, b]);
    const claim = { index: 0, treeSize: 2, path: [nodeHashOf(c, d)], root: merkleRoot(leaves) };
    expect(verifyInclusion({ ...claim, leafHash: leafHashOf(inner) })).toBe(false);
  });

  it('answers nonsense with false, not with a throw', () => {
    const [leafHash = Buffer.alloc(32)] = LEAVES;
    const claim = { index: 0, treeSize: 1, leafHash, path: [], root: leafHash };
    expect(verifyInclusion(claim)).toBe(true);
    for (const bad of [
      { index: -1 },
      { index: 0.5 },
      { index: Number.NaN },
      { treeSize: 0 },
      { treeSize: Number.POSITIVE_INFINITY },
      { leafHash: Buffer.alloc(0) },
      { root: Buffer.alloc(31) },
      { path: [Buffer.alloc(33)] },
    ]) {
      expect(verifyInclusion({ ...claim, ...bad })).toBe(false);
    }
  });
});
