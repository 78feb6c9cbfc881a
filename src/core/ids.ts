import { randomUUID } from 'node:crypto';
import { sha256 } from './bytes.ts';

/** A version 7 or 8 UUID, lower case; from others any version. */
export type Uuid = string;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Rows are spread over this many buckets, so that a distributed Postgres can shard every key. */
export const BUCKETS = 64;

export function isUuid(value: string): boolean {
  return UUID.test(value);
}

/**
 * A UUID whose first 48 bits are the time, and the next 12 count what was made within that millisecond (RFC 9562,
 * version 7, section 6.2, method 1): new rows land at the right edge of an index, which is all its work then. The
 * other 62 bits are random enough to be unguessable.
 */
export function newUuid(now: number = Date.now()): Uuid {
  if (now !== made.now) {
    const time = now.toString(16).padStart(12, '0');
    made = { now, count: COUNT_MIN, text: `${time.slice(0, 8)}-${time.slice(8)}-` };
  } else if (made.count < COUNT_MAX) {
    made.count += 1;
  }
  // All that a random UUID (version 4) has behind its first 64 bits: the variant, and otherwise random bits.
  return made.text + made.count.toString(16) + randomUUID().slice(VARIANT_AT);
}

/** The version and the count, in hexadecimal digits: 7000 and 7fff. What is more in a millisecond has no order. */
const COUNT_MIN = 0x7000;
const COUNT_MAX = 0x7fff;

/** What was last made: its millisecond, its count, and how all of that millisecond begin. */
let made = { now: Number.NaN, count: COUNT_MIN, text: '' };

/** Where the text of a UUID has the dash before its variant. */
const VARIANT_AT = 18;

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
