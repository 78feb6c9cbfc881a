import fc from 'fast-check';
import { expect, test } from 'vitest';
import { sidesOf, verifySecondInclusion } from '../../../src/provenance/bundle/second-path.ts';
import {
  createReplay,
  inclusionPath,
  leafHashOf,
  merkleRoot,
  nodeHashOf,
  verifyInclusion,
} from '../../../src/provenance/index.ts';

const entryAt = (index: number) => Buffer.from(`entry ${index}`);

test('merkletreejs, folded by 256, comes to our root at every size around its folds', () => {
  const replay = createReplay();
  expect(replay.root()).toEqual(merkleRoot([]));
  const hashes: Buffer[] = [];
  const asked = new Set([1, 2, 3, 255, 256, 257, 511, 512, 513, 1_000, 65_535, 65_536, 65_537, 65_800]);
  for (let index = 0; index < 65_800; index += 1) {
    replay.append(entryAt(index));
    hashes.push(leafHashOf(entryAt(index)));
    if (asked.has(index + 1)) expect(replay.root(), `${index + 1}`).toEqual(merkleRoot(hashes));
  }
  expect(replay.treeSize()).toBe(65_800);
});

test('both implementations take every path of every small tree, and for no other index or size', () => {
  const hashes = Array.from({ length: 33 }, (_, index) => leafHashOf(entryAt(index)));
  for (let treeSize = 1; treeSize <= 33; treeSize += 1) {
    const root = merkleRoot(hashes.slice(0, treeSize));
    for (let index = 0; index < treeSize; index += 1) {
      const leafHash = hashes[index] ?? root;
      const path = inclusionPath(hashes.slice(0, treeSize), index);
      const claim = { index, treeSize, leafHash, path, root };
      expect([verifyInclusion(claim), verifySecondInclusion(claim)]).toEqual([true, true]);
      for (const other of [index - 1, index + 1, treeSize, -1, 0.5, Number.NaN, 2 ** 53]) {
        expect(verifySecondInclusion({ ...claim, index: other })).toBe(
          verifyInclusion({ ...claim, index: other }),
        );
      }
      for (const other of [treeSize - 1, treeSize + 1, 2 * treeSize, 0]) {
        expect(verifySecondInclusion({ ...claim, treeSize: other })).toBe(
          verifyInclusion({ ...claim, treeSize: other }),
        );
      }
    }
  }
});

test('merkletreejs takes no inner node for a leaf once index and size bind the length of the path', () => {
  const hashes = Array.from({ length: 8 }, (_, index) => leafHashOf(entryAt(index)));
  const [first, second] = hashes;
  if (!first || !second) throw new Error('no leaves');
  const root = merkleRoot(hashes);
  const path = inclusionPath(hashes, 0).slice(1);
  const inner = { index: 0, treeSize: 8, leafHash: nodeHashOf(first, second), path, root };
  expect([verifySecondInclusion(inner), verifyInclusion(inner)]).toEqual([false, false]);
  // The root with an empty path, which merkletreejs by itself takes.
  const bare = { index: 0, treeSize: 8, leafHash: root, path: [], root };
  expect([verifySecondInclusion(bare), verifyInclusion(bare)]).toEqual([false, false]);
});

test('the two implementations agree about any claim', () => {
  const hash = fc.uint8Array({ minLength: 31, maxLength: 33 }).map((bytes) => Buffer.from(bytes));
  const size = fc.oneof(fc.integer({ min: -2, max: 40 }), fc.maxSafeNat(), fc.double());
  const claim = fc.record({
    ...{ index: size, treeSize: size, leafHash: hash, root: hash },
    path: fc.array(hash, { maxLength: 60 }),
  });
  fc.assert(fc.property(claim, (one) => verifySecondInclusion(one) === verifyInclusion(one)));
  expect(sidesOf(2 ** 53 - 2, 2 ** 53 - 1)).toHaveLength(52);
});
