import { randomBytes } from 'node:crypto';
import { hmacSha256, sha256, sha256Hex } from '../core/bytes.ts';

const PREFIX = 'mcp_';
const SECRET_BYTES = 24;
const GRAMMAR = new RegExp(`^${PREFIX}[0-9a-f]{${SECRET_BYTES * 2}}$`);

/** The text of a fresh key: 192 random bits. It is shown once and kept nowhere. */
export function newKeyText(): string {
  return PREFIX + randomBytes(SECRET_BYTES).toString('hex');
}

/**
 * The text of the key a payment bought: the same for the same claim, so that a lost answer is given again
 * without the key having been stored (MONEY.md, rule 3).
 */
export function deriveKeyText(secret: Uint8Array, claimKey: string): string {
  return PREFIX + hmacSha256(secret, claimKey).subarray(0, SECRET_BYTES).toString('hex');
}

/** The text when it is a key and nothing but a key: no white space, no capitals, no other length. */
export function parseKey(text: string | undefined): string | undefined {
  return text !== undefined && GRAMMAR.test(text) ? text : undefined;
}

/** What the database knows of a key. Finding it by this hash tells nothing by its duration. */
export function hashKey(text: string): Buffer {
  return sha256(text);
}

/** The same in hex: what a key that is in use is remembered by. */
export function nameKey(text: string): string {
  return sha256Hex(text);
}
