import { keccak256 } from 'ox/Hash';
import { check, refute } from '../refuted.ts';
import { isRlpList, type RlpItem, readRlpList } from './rlp.ts';

/** A key is a hash of 64 nibbles: no path through a trie has more nodes. */
export const TRIE_NODES_MAX = 64;
/** A branch of sixteen hashes takes 532 bytes, and a leaf holds an account at most. */
export const TRIE_NODE_BYTES_MAX = 1_024;

const HASH_BYTES = 32;
const BRANCH_ITEMS = 17;
const PATH_ITEMS = 2;

export type TrieProof = {
  root: Uint8Array;
  /** What is looked up; the trie holds it under its keccak256. */
  key: Uint8Array;
  /** From the root down, as `eth_getProof` answers them (EIP-1186). */
  nodes: readonly Uint8Array[];
};

/**
 * The value that a Merkle Patricia trie with this root holds for the key (yellow paper, appendix D). A proof that the
 * key is absent is refuted, and so is one with nodes that nothing leads to.
 */
export function readTrie({ root, key, nodes }: TrieProof, what: string): Uint8Array {
  check(nodes.length <= TRIE_NODES_MAX, `${what} has too many nodes`);
  check(
    nodes.every((node) => node.length <= TRIE_NODE_BYTES_MAX),
    `${what} has a node that is too large`,
  );
  const nibbles = toNibbles(keccak256(key, { as: 'Bytes' }));
  let taken = 0;
  let node = takeNode(root);
  let depth = 0;
  for (;;) {
    const step = descend(node, nibbles.slice(depth));
    depth += step.nibbles;
    if (step.kind === 'value') {
      check(taken === nodes.length, `${what} has nodes that nothing leads to`);
      return step.value;
    }
    check(depth < nibbles.length, `${what} goes on below the end of its key`);
    node = isRlpList(step.child) ? step.child : takeNode(step.child);
  }

  function takeNode(hash: Uint8Array): readonly RlpItem[] {
    const bytes = nodes[taken];
    taken += 1;
    check(bytes, `${what} ends before it reaches a value`);
    const isSame = Buffer.compare(keccak256(bytes, { as: 'Bytes' }), hash) === 0;
    check(isSame, `node ${taken} of ${what} is not the one that its parent names`);
    return readRlpList(bytes, `node ${taken} of ${what}`);
  }

  type Step = { nibbles: number } & (
    | { kind: 'value'; value: Uint8Array }
    | { kind: 'child'; child: Uint8Array | readonly RlpItem[] }
  );

  function descend(items: readonly RlpItem[], rest: readonly number[]): Step {
    if (items.length === BRANCH_ITEMS) {
      return { kind: 'child', nibbles: 1, child: readChild(items[rest[0] ?? 0]) };
    }
    check(items.length === PATH_ITEMS, `${what} has a node that is neither a branch nor a path`);
    const [path, target] = items;
    const { isLeaf, nibbles: own } = readPath(path);
    const isOurs = own.length <= rest.length && own.every((nibble, at) => nibble === rest[at]);
    check(isOurs, `${what} shows that there is no such value`);
    if (!isLeaf) return { kind: 'child', nibbles: own.length, child: readChild(target) };
    check(own.length === rest.length, `${what} shows that there is no such value`);
    check(target instanceof Uint8Array && target.length > 0, `${what} ends in no value`);
    return { kind: 'value', nibbles: own.length, value: target };
  }

  /** A node below: its hash, or the node itself where it is shorter than one. */
  function readChild(item: RlpItem | undefined): Uint8Array | readonly RlpItem[] {
    if (isRlpList(item)) return item;
    check(item && item.length > 0, `${what} shows that there is no such value`);
    check(item.length === HASH_BYTES, `${what} names a node by something that is no hash`);
    return item;
  }

  /** Hex prefix encoding (yellow paper, appendix C). */
  function readPath(item: RlpItem | undefined): { isLeaf: boolean; nibbles: number[] } {
    if (!(item instanceof Uint8Array) || item.length === 0) return refute(`${what} has a path that is empty`);
    const [flag = 0, padding = 0, ...nibbles] = toNibbles(item);
    const isOdd = flag % 2 === 1;
    check(flag <= 3 && (isOdd || padding === 0), `${what} has a path that is not canonical`);
    const own = isOdd ? [padding, ...nibbles] : nibbles;
    const isLeaf = flag >= 2;
    check(isLeaf || own.length > 0, `${what} has a path that leads nowhere`);
    return { isLeaf, nibbles: own };
  }
}

function toNibbles(bytes: Uint8Array): number[] {
  return [...bytes].flatMap((byte) => [byte >> 4, byte & 15]);
}
