import { randomFillSync } from 'node:crypto';
import { sha256 } from './bytes.ts';
import { invariant } from './invariant.ts';

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
    invariant(Number.isInteger(now) && now >= 0 && now < TIME_END, 'the time of an id has 48 bits');
    made.now = now;
    made.count = COUNT_MIN;
    const time = now.toString(16).padStart(12, '0');
    text.write(`${time.slice(0, 8)}-${time.slice(8)}-`, 'latin1');
  } else if (made.count < COUNT_MAX) {
    made.count += 1;
  }
  if (made.randomAt === random.length) {
    randomFillSync(random);
    made.randomAt = 0;
  }
  let at = writeHexByte(made.count >> 8, COUNT_AT);
  writeHexByte(made.count & 0xff, at);
  // The variant is in the two first bits of the random ones.
  at = writeHexByte(0x80 | (takeRandomByte() & 0x3f), VARIANT_AT);
  at = writeHexByte(takeRandomByte(), at);
  for (at = NODE_AT; at < TEXT_BYTES; ) at = writeHexByte(takeRandomByte(), at);
  return text.toString('latin1');
}

/** The first millisecond that 48 bits do not hold; it is in the year 10889. */
const TIME_END = 2 ** 48;
/** The version and the count: 7000 and 7fff in hexadecimal. What is more in a millisecond has no order. */
const COUNT_MIN = 0x7000;
const COUNT_MAX = 0x7fff;

/** Where the text of a UUID has its parts. */
const COUNT_AT = 14;
const VARIANT_AT = 19;
const NODE_AT = 24;
const TEXT_BYTES = 36;

const RANDOM_BYTES = 8;
const MADE_AT_ONCE = 512;

/**
 * Where ids are spelled, byte by byte, and the random bytes of the next ones: putting each together from strings takes
 * three times as long, and leaves a kilobyte of them to collect.
 */
const text = Buffer.from('00000000-0000-7000-8000-000000000000');
const random = Buffer.alloc(RANDOM_BYTES * MADE_AT_ONCE);
const made = { now: Number.NaN, count: COUNT_MIN, randomAt: random.length };

const HEX_DIGITS = Buffer.from('0123456789abcdef');

function writeHexByte(byte: number, at: number): number {
  text[at] = HEX_DIGITS[byte >> 4] ?? 0;
  text[at + 1] = HEX_DIGITS[byte & 0x0f] ?? 0;
  return at + 2;
}

/** Never the same one twice: what was taken is gone. */
function takeRandomByte(): number {
  const byte = random[made.randomAt] ?? 0;
  random[made.randomAt] = 0;
  made.randomAt += 1;
  return byte;
}

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
