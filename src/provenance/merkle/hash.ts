import { sha256 } from '../../core/bytes.ts';

/** A SHA-256 hash, 32 bytes. */
export type Hash = Buffer;

export const HASH_BYTES = 32;

/** The root of a tree without leaves (RFC 6962, section 2.1). */
export const EMPTY_ROOT: Hash = sha256('');

const LEAF_PREFIX = Uint8Array.of(0x00);
const NODE_PREFIX = Uint8Array.of(0x01);

/** The hash of a leaf (RFC 6962, section 2.1); its prefix keeps a node from passing as a leaf. */
export function leafHashOf(entry: Uint8Array | string): Hash {
  return sha256(LEAF_PREFIX, entry);
}

export function nodeHashOf(left: Hash, right: Hash): Hash {
  return sha256(NODE_PREFIX, left, right);
}

/** The hashes that stand one after another in these bytes. */
export function splitHashes(bytes: Buffer): Hash[] {
  return Array.from({ length: bytes.length / HASH_BYTES }, (_, at) =>
    bytes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
  );
}

/** Whether this is a hash, whatever a caller from outside calls one. */
export function isHash(value: unknown): value is Hash {
  return value instanceof Uint8Array && value.length === HASH_BYTES;
}
