import { sha256 } from '../../core/bytes.ts';
import type { Hash } from '../merkle/merkle.ts';
import { secondLeafHash, secondRoot } from './second-path.ts';

/** A log built anew from its entries, by merkletreejs alone. */
export type Replay = {
  append(entry: Uint8Array): void;
  treeSize(): number;
  /** The RFC 6962 root over what was appended so far. */
  root(): Hash;
};

/** A whole tree of merkletreejs takes more than a gigabyte for a million leaves; folded like this it takes nothing. */
const FOLD = 256;

/** Keeps less than 256 hashes of each level of trees of 256: what is complete is one hash on the level above. */
export function createReplay(): Replay {
  const levels: Hash[][] = [];
  let treeSize = 0;

  function push(level: number, hash: Hash): void {
    const hashes = levels[level] ?? [];
    levels[level] = hashes;
    hashes.push(hash);
    if (hashes.length < FOLD) return;
    levels[level] = [];
    push(level + 1, secondRoot(hashes));
  }

  return {
    append(entry) {
      push(0, secondLeafHash(entry));
      treeSize += 1;
    },
    treeSize: () => treeSize,
    root() {
      // What is not complete is the last and smaller subtree of the level above.
      const root = levels.reduce<Hash | undefined>((rest, hashes) => {
        const all = rest ? [...hashes, rest] : hashes;
        return all.length === 0 ? undefined : secondRoot(all);
      }, undefined);
      return root ?? sha256('');
    },
  };
}
