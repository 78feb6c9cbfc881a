import { keccak256 } from 'ox/Hash';
import { check } from '../refuted.ts';
import { toWord } from './state.ts';

/**
 * The keccak256 of the code of `contracts/src/VersionAnchor.sol`, the same for every origin and owner. Code with this
 * hash takes a root only with proof that its tree begins with the one before, and has no way to forget one.
 */
export const VERSION_ANCHOR_CODE_HASHES: readonly string[] = [
  '0xcbde6eb3ff203f97bf06ec1e908892fc6056db47ebf62b4ffbd2b8775de4fc58',
];

/** The slot of the list of anchors (`contracts/README.md`): anchor i takes two slots from the keccak256 of it on. */
const ANCHORS_SLOT = 0n;
const WORD_MAX = 1n << 256n;
const UINT64_BITS = 64n;
const UINT64_MAX = (1n << UINT64_BITS) - 1n;
const WORD_HEX = 64;

/** What the contract keeps of one anchor. `time` is in unix seconds. */
export type ChainAnchor = { root: Buffer; treeSize: number; time: number; blockNumber: number };

/** The slots of an anchor: its root, then size, time and block number packed into one word. */
export function anchorSlots(anchorIndex: number): readonly [root: bigint, facts: bigint] {
  const base = BigInt(keccak256(toWord(ANCHORS_SLOT), { as: 'Hex' })) + 2n * BigInt(anchorIndex);
  return [base % WORD_MAX, (base + 1n) % WORD_MAX];
}

/** What these two words say, each as `anchorSlots` orders them. */
export function unpackAnchor(root: bigint, facts: bigint): ChainAnchor {
  check(facts >> (3n * UINT64_BITS) === 0n, 'the anchor on the chain has bits that no anchor has');
  return {
    root: toWord(root),
    treeSize: toCount(facts & UINT64_MAX, 'the tree size'),
    time: toCount((facts >> UINT64_BITS) & UINT64_MAX, 'the time'),
    blockNumber: toCount((facts >> (2n * UINT64_BITS)) & UINT64_MAX, 'the block number'),
  };
}

/** Data of the call `anchorAt(anchorIndex)`. */
export function anchorAtCall(anchorIndex: number): string {
  return `${selectorOf('anchorAt(uint256)')}${toWord(BigInt(anchorIndex)).toString('hex')}`;
}

/** What `anchorAt` returns: root, size, time and block number, a word each. */
export function decodeAnchorAt(result: string): ChainAnchor {
  check(/^0x[0-9a-f]{256}$/.test(result), 'the chain does not answer with an anchor');
  const words = [0, 1, 2, 3].map((at) =>
    BigInt(`0x${result.slice(2 + at * WORD_HEX, 2 + (at + 1) * WORD_HEX)}`),
  );
  const [root = 0n, treeSize = 0n, time = 0n, blockNumber = 0n] = words;
  return {
    root: toWord(root),
    treeSize: toCount(treeSize, 'the tree size'),
    time: toCount(time, 'the time'),
    blockNumber: toCount(blockNumber, 'the block number'),
  };
}

/** Data of the call `count()`, which returns how many anchors there are. */
export const ANCHORS_COUNT_CALL = selectorOf('count()');

/** Data of the call `origin()`, which returns the log's origin as an ABI string. */
export const ANCHOR_ORIGIN_CALL = selectorOf('origin()');

/** The origin that a contract returns; undefined for what is not an ABI string. */
export function decodeOrigin(result: string): string | undefined {
  const bytes = Buffer.from(result.slice(2), 'hex');
  if (bytes.length < 64 || BigInt(`0x${bytes.toString('hex', 0, 32)}`) !== 32n) return undefined;
  const length = BigInt(`0x${bytes.toString('hex', 32, 64)}`);
  return length <= BigInt(bytes.length - 64) ? bytes.toString('utf8', 64, 64 + Number(length)) : undefined;
}

/** How many anchors a contract says it has; undefined for what is not a number. */
export function decodeAnchorsCount(result: string): number | undefined {
  const count = /^0x[0-9a-f]{64}$/.test(result) ? BigInt(result) : -1n;
  return count >= 0n && count <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(count) : undefined;
}

/** Whether this is the code of a VersionAnchor, as `eth_getCode` tells it. */
export function isVersionAnchorCode(code: string): boolean {
  const hash = keccak256(Buffer.from(code.slice(2), 'hex'), { as: 'Hex' });
  return VERSION_ANCHOR_CODE_HASHES.includes(hash);
}

/** The topics of the event that the contract writes for this anchor. */
export function anchoredTopics(anchor: { anchorIndex: number; treeSize: number; root: Buffer }): string[] {
  return [
    keccak256(Buffer.from('Anchored(uint256,uint64,bytes32,uint64)'), { as: 'Hex' }),
    ...[toWord(BigInt(anchor.anchorIndex)), toWord(BigInt(anchor.treeSize)), anchor.root].map(
      (word) => `0x${word.toString('hex')}`,
    ),
  ];
}

function selectorOf(signature: string): string {
  return keccak256(Buffer.from(signature), { as: 'Hex' }).slice(0, 10);
}

function toCount(value: bigint, what: string): number {
  check(value <= BigInt(Number.MAX_SAFE_INTEGER), `${what} of the anchor on the chain is too large`);
  return Number(value);
}
