import { describe, expect, test } from 'vitest';
import {
  isHash,
  leafHashOf,
  merkleRoot,
  verifyConsistency,
  verifyInclusion,
} from '../../src/provenance/index.ts';
import vectors from '../vectors/rfc6962.json' with { type: 'json' };

// `contracts/test/RFC6962.t.sol` reads the same file, so the two verifiers judge the same claims.
const HASHES = vectors.claims.hashes.map((text) => Buffer.from(text, 'hex'));
const EMPTY = Buffer.alloc(0);

describe('the reference vectors of transparency-dev/merkle', () => {
  test('are all here, those to accept and those to refuse', () => {
    const { inclusion, consistency } = vectors.claims;
    expect([inclusion.length, consistency.length]).toEqual([98, 98]);
    expect(inclusion.filter(({ valid }) => valid).length).toBe(6);
    expect(consistency.filter(({ valid }) => valid).length).toBe(6);
  });

  test.each(vectors.claims.inclusion)('inclusion $name: $valid', (claim) => {
    const { index, size, leaf, root, path, valid } = claim;
    const verdict = verifyInclusion({
      index: Number(index),
      treeSize: Number(size),
      leafHash: hashAt(leaf),
      path: path.map(hashAt),
      root: hashAt(root),
    });
    expect(verdict).toBe(valid);
  });

  test.each(vectors.claims.consistency)('consistency $name: $valid', (claim) => {
    const { first, second, roots, path, valid } = claim;
    const [fromRoot = EMPTY, toRoot = EMPTY] = roots.map(hashAt);
    const verdict = verifyConsistency({
      fromSize: Number(first),
      toSize: Number(second),
      fromRoot,
      toRoot,
      path: path.map(hashAt),
    });
    // The reference compares equal roots of one leaf without asking whether they are hashes; here they must be.
    expect(verdict).toBe(valid && isHash(fromRoot) && isHash(toRoot));
  });
});

describe('the reference tree of RFC 6962', () => {
  const leaves = vectors.leaves.map((leaf) => leafHashOf(Buffer.from(leaf, 'hex')));
  const rootOf = (size: number) => merkleRoot(leaves.slice(0, size));

  test.each(vectors.inclusion)('proves leaf $index of $size', ({ index, size, path }) => {
    const leafHash = leaves[index] ?? EMPTY;
    const claim = { index, treeSize: size, leafHash, path: path.map(fromHex), root: rootOf(size) };
    expect(verifyInclusion(claim)).toBe(true);
  });

  test.each(vectors.consistency)(
    'proves that $second leaves begin with $first',
    ({ first, second, proof }) => {
      const [fromRoot, toRoot] = [rootOf(first), rootOf(second)];
      const claim = { fromSize: first, toSize: second, fromRoot, toRoot, path: proof.map(fromHex) };
      expect(verifyConsistency(claim)).toBe(true);
    },
  );
});

function hashAt(position: number): Buffer {
  const hash = HASHES[position];
  if (!hash) throw new Error(`the vectors have no hash ${position}`);
  return hash;
}

function fromHex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}
