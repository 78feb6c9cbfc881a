import { timingSafeEqual } from 'node:crypto';
import { hmacSha256 } from '../../../core/bytes.ts';

/** A macaroon with first-party caveats only; their bytes are signed as they are. */
export type Macaroon = { location: string; identifier: Buffer; caveats: Buffer[]; signature: Buffer };

/** A macaroon whose signature follows from its root key. */
export function mintMacaroon(input: {
  rootKey: Uint8Array;
  identifier: Buffer;
  location: string;
  caveats: Buffer[];
}): Macaroon {
  const { rootKey, identifier, location, caveats } = input;
  return { location, identifier, caveats, signature: sign(rootKey, identifier, caveats) };
}

/** Whether the signature follows from this root key over exactly this identifier and these caveats. */
export function isSignedBy(macaroon: Macaroon, rootKey: Uint8Array): boolean {
  return timingSafeEqual(sign(rootKey, macaroon.identifier, macaroon.caveats), macaroon.signature);
}

/** The binary format of version 2 (libmacaroons, doc/format.txt), as go-macaroon writes it. */
export function encodeMacaroon(macaroon: Macaroon): Buffer {
  const parts: Buffer[] = [Buffer.of(VERSION)];
  if (macaroon.location !== '') parts.push(...packField(LOCATION, Buffer.from(macaroon.location, 'utf8')));
  parts.push(...packField(IDENTIFIER, macaroon.identifier), END);
  for (const caveat of macaroon.caveats) parts.push(...packField(IDENTIFIER, caveat), END);
  parts.push(END, ...packField(SIGNATURE, macaroon.signature));
  return Buffer.concat(parts);
}

/** The macaroon in these bytes; undefined for anything else, and for one with a third-party caveat. */
export function decodeMacaroon(bytes: Buffer): Macaroon | undefined {
  if (bytes[0] !== VERSION) return undefined;
  const header = readSection(bytes, 1);
  const identifier = header?.fields.get(IDENTIFIER);
  if (!header || !identifier) return undefined;
  const caveats: Buffer[] = [];
  let at = header.next;
  while (bytes[at] !== END_OF_SECTION) {
    const section = readSection(bytes, at);
    const caveat = section?.fields.get(IDENTIFIER);
    // A third-party caveat needs a discharge, which the Authorization header has no room for.
    if (!section || !caveat || section.fields.has(VERIFICATION_ID)) return undefined;
    caveats.push(caveat);
    at = section.next;
  }
  const last = readField(bytes, at + 1);
  if (last?.type !== SIGNATURE || last.value.length !== SIGNATURE_BYTES || last.next !== bytes.length)
    return undefined;
  const location = header.fields.get(LOCATION)?.toString('utf8') ?? '';
  return { location, identifier, caveats, signature: last.value };
}

const VERSION = 2;
const [LOCATION, IDENTIFIER, VERIFICATION_ID, SIGNATURE] = [1, 2, 4, 6];
const END_OF_SECTION = 0;
const END = Buffer.of(END_OF_SECTION);
const SIGNATURE_BYTES = 32;
/** Three groups of seven bits: far more than a header carries. */
const VARINT_BYTES_MAX = 3;
/** Every implementation hashes the root key under this first. */
const KEY_GENERATOR = Buffer.from('macaroons-key-generator', 'utf8');

function sign(rootKey: Uint8Array, identifier: Buffer, caveats: Buffer[]): Buffer {
  const key = hmacSha256(KEY_GENERATOR, rootKey);
  return caveats.reduce((signature, caveat) => hmacSha256(signature, caveat), hmacSha256(key, identifier));
}

function packField(type: number, value: Buffer): Buffer[] {
  const head = [type];
  let length = value.length;
  while (length >= 0x80) {
    head.push((length & 0x7f) | 0x80);
    length >>>= 7;
  }
  head.push(length);
  return [Buffer.from(head), value];
}

type Field = { type: number; value: Buffer; next: number };

function readField(bytes: Buffer, start: number): Field | undefined {
  const type = bytes[start];
  if (type === undefined) return undefined;
  let length = 0;
  for (let index = 0; index < VARINT_BYTES_MAX; index += 1) {
    const byte = bytes[start + 1 + index];
    if (byte === undefined) return undefined;
    length |= (byte & 0x7f) << (7 * index);
    if (byte >= 0x80) continue;
    const from = start + 2 + index;
    const next = from + length;
    return next <= bytes.length ? { type, value: bytes.subarray(from, next), next } : undefined;
  }
  return undefined;
}

/** Fields in ascending order up to the end of their section. */
function readSection(
  bytes: Buffer,
  start: number,
): { fields: Map<number, Buffer>; next: number } | undefined {
  const fields = new Map<number, Buffer>();
  let [at, previous] = [start, END_OF_SECTION];
  while (bytes[at] !== END_OF_SECTION) {
    const field = readField(bytes, at);
    if (!field || field.type <= previous) return undefined;
    fields.set(field.type, field.value);
    [at, previous] = [field.next, field.type];
  }
  return { fields, next: at + 1 };
}
