import { keccak256 } from 'ox/Hash';
import { check } from '../refuted.ts';
import { isRlpList, type RlpItem, readRlp, readRlpList, toRlpNumber } from './rlp.ts';
import { readTrie } from './trie.ts';

/** Longer than the header of any chain, which has about 650 bytes. */
export const HEADER_BYTES_MAX = 8_192;

const HASH_BYTES = 32;
const HEADER_ITEMS_MAX = 32;
/** Positions in a header, the same since the first block (yellow paper, section 4.4). */
const HEADER = { stateRoot: 3, number: 8, time: 11, first: 15 } as const;
const ACCOUNT_ITEMS = 4;

/** What a header says of its block. `hash` is computed. */
export type Header = { hash: string; stateRoot: Uint8Array; number: bigint; time: bigint };

export function readHeader(bytes: Uint8Array): Header {
  check(bytes.length <= HEADER_BYTES_MAX, 'the block header is too long');
  const items = readRlpList(bytes, 'the block header');
  const isHeader = items.length >= HEADER.first && items.length <= HEADER_ITEMS_MAX;
  check(isHeader, 'the block header has another number of fields than a header has');
  return {
    hash: keccak256(bytes, { as: 'Hex' }),
    stateRoot: toHash(items[HEADER.stateRoot], 'the state root in the block header'),
    number: toRlpNumber(items[HEADER.number], 'the number in the block header'),
    time: toRlpNumber(items[HEADER.time], 'the time in the block header'),
  };
}

export type Account = { storageRoot: Uint8Array; codeHash: string };

/** The account at this address in the state with this root (EIP-1186). */
export function readAccount(
  stateRoot: Uint8Array,
  input: { address: Uint8Array; nodes: readonly Uint8Array[] },
): Account {
  const what = 'the proof of the contract';
  const value = readTrie({ root: stateRoot, key: input.address, nodes: input.nodes }, what);
  const items = readRlpList(value, 'the account of the contract');
  check(items.length === ACCOUNT_ITEMS, 'the account of the contract has another number of fields');
  return {
    storageRoot: toHash(items[2], 'the storage root of the contract'),
    codeHash: `0x${Buffer.from(toHash(items[3], 'the code hash of the contract')).toString('hex')}`,
  };
}

/** What a storage slot holds, which is not zero: the trie does not keep zeros. */
export function readSlot(
  storageRoot: Uint8Array,
  input: { slot: bigint; nodes: readonly Uint8Array[] },
): bigint {
  const what = "the proof of the contract's storage";
  const value = readTrie({ root: storageRoot, key: toWord(input.slot), nodes: input.nodes }, what);
  const item = readRlp(value, "a value in the contract's storage");
  check(!isRlpList(item) && item.length > 0, "a value in the contract's storage is not a number");
  return toRlpNumber(item, "a value in the contract's storage");
}

/** 32 bytes, big-endian. */
export function toWord(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(2 * HASH_BYTES, '0'), 'hex');
}

function toHash(item: RlpItem | undefined, what: string): Uint8Array {
  check(item instanceof Uint8Array && item.length === HASH_BYTES, `${what} is not a hash`);
  return item;
}
