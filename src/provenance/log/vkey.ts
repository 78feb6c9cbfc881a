import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { sha256 } from '../../core/bytes.ts';
import { readBase64, requireNote } from './note-error.ts';

/** Signature types of C2SP signed-note: an Ed25519 signature, and a timestamped Ed25519 cosignature. */
export const KEY_TYPES = { ed25519: 1, cosignature: 4 } as const;
export type KeyType = (typeof KEY_TYPES)[keyof typeof KEY_TYPES];

/** A public key that notes are verified with (C2SP signed-note, "Verifier keys"). */
export type NoteKey = {
  /** As it is written. */
  vkey: string;
  name: string;
  /** 4 bytes as 8 hex digits. */
  keyId: string;
  type: KeyType;
  publicKey: KeyObject;
};

/** A private key that signs notes under a name. */
export type NoteSigner = NoteKey & { privateKey: KeyObject };

const PUBLIC_KEY_BYTES = 32;
const VKEY_CHARACTERS_MAX = 1_000;
/** Not empty, no Unicode space, no plus (C2SP signed-note), no control character, and no half of a surrogate pair. */
const KEY_NAME = /^[^\s+\p{Cc}\p{Cs}]+$/u;

export function isKeyName(name: string): boolean {
  return KEY_NAME.test(name);
}

/** Reads `<name>+<key id>+<base64 of type and key>`; throws `NoteError` for what is not exactly that. */
export function parseVkey(text: string): NoteKey {
  requireNote(
    typeof text === 'string' && text.length <= VKEY_CHARACTERS_MAX,
    'The verifier key is not a short text.',
  );
  // A key name has no plus, but the base64 at the end may.
  const [, name, keyId, encoded] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/s.exec(text) ?? [];
  requireNote(name && keyId && encoded && isKeyName(name), 'The verifier key is not <name>+<id>+<base64>.');
  const bytes = readBase64(encoded, 'The key in the verifier key');
  const type = Object.values(KEY_TYPES).find((known) => known === bytes[0]);
  requireNote(type, 'The verifier key is of a type that is not known here: 1 and 4 are.');
  const raw = bytes.subarray(1);
  requireNote(raw.length === PUBLIC_KEY_BYTES, 'The key in the verifier key is not 32 bytes long.');
  requireNote(keyIdOf(name, type, raw) === keyId, 'The id in the verifier key is not that of its key.');
  return { vkey: text, name, keyId, type, publicKey: readRawKey(raw) };
}

/** The key of a log, which signs and does not cosign; throws `NoteError` for another. */
export function parseLogVkey(text: string): NoteKey {
  const key = parseVkey(text);
  requireNote(key.type === KEY_TYPES.ed25519, `The key ${key.name} cosigns, and does not sign for a log.`);
  return key;
}

/** The key of a witness; throws `NoteError` for another. */
export function parseWitnessVkey(text: string): NoteKey {
  const key = parseVkey(text);
  requireNote(key.type === KEY_TYPES.cosignature, `The key ${key.name} is not one that cosigns.`);
  return key;
}

export function encodeVkey(input: { name: string; type: KeyType; publicKey: KeyObject }): string {
  const raw = rawKeyOf(input.publicKey);
  const encoded = Buffer.concat([Uint8Array.of(input.type), raw]).toString('base64');
  return `${input.name}+${keyIdOf(input.name, input.type, raw)}+${encoded}`;
}

/** A signer from an Ed25519 private key as PEM; never quotes the key in what it throws. */
export function createNoteSigner(input: { name: string; privateKeyPem: string; type?: KeyType }): NoteSigner {
  const privateKey = readPrivateKey(input.privateKeyPem);
  const type = input.type ?? KEY_TYPES.ed25519;
  if (!isKeyName(input.name)) throw new Error('A log is named without spaces and plus signs.');
  const publicKey = createPublicKey(privateKey);
  const vkey = encodeVkey({ name: input.name, type, publicKey });
  return { ...parseVkey(vkey), privateKey };
}

function readPrivateKey(pem: string): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The cause is left out on purpose: it may quote the key.
  }
  if (key?.asymmetricKeyType !== 'ed25519') throw new Error("A log's key must be an Ed25519 key, as PEM.");
  return key;
}

function readRawKey(raw: Buffer): KeyObject {
  return createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') },
    format: 'jwk',
  });
}

function rawKeyOf(publicKey: KeyObject): Buffer {
  return Buffer.from(String(publicKey.export({ format: 'jwk' }).x), 'base64url');
}

function keyIdOf(name: string, type: KeyType, raw: Buffer): string {
  return sha256(name, '\n', Uint8Array.of(type), raw).toString('hex', 0, 4);
}
