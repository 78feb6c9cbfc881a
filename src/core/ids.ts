import { randomUUID } from 'node:crypto';
import { sha256 } from './bytes.ts';

/** A version 4 or 8 UUID, lower case. */
export type Uuid = string;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Rows are spread over this many buckets, so that a distributed Postgres can shard every key. */
export const BUCKETS = 64;

export function isUuid(value: string): boolean {
  return UUID.test(value);
}

/**
 * A UUID whose first 48 bits are the time (RFC 9562, version 7): new rows land at the right edge of an
 * index, and the rest is random enough to be unguessable.
 */
export function newUuid(now: number = Date.now()): Uuid {
  if (now !== spelled.now) {
    const time = now.toString(16).padStart(12, '0');
    spelled = { now, text: `${time.slice(0, 8)}-${time.slice(8)}-7` };
  }
  // All that a random UUID (version 4) has behind its version: the variant, and otherwise random bits.
  return spelled.text + randomUUID().slice(VERSION_AT + 1);
}

/** The beginning of what is made within a millisecond. */
let spelled = { now: Number.NaN, text: '' };

/** Where the text of a UUID says its version. */
const VERSION_AT = 14;

/** The same UUID for the same words, every time and everywhere (RFC 9562, version 8 over SHA-256). */
export function uuidFrom(...words: string[]): Uuid {
  return format(sha256(words.join('\u0000')).subarray(0, 16), 8);
}

/** The shard column of a row: from the last byte, which is random in every kind of id we make. */
export function bucketOf(id: Uuid): number {
  return Number.parseInt(id.slice(-2), 16) % BUCKETS;
}

function format(source: Uint8Array, version: number): Uuid {
  const bytes = Buffer.from(source);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | (version << 4), 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
