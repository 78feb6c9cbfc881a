import { createHash } from 'node:crypto';
import { isEd25519Key, verifyEd25519 } from './ed25519.ts';
import { readBase64 } from './text.ts';
import {
  invalid,
  NOT_OF_THESE_BYTES,
  otherKey,
  type PublicKey,
  type Refusal,
  refuse,
  type SignatureInput,
  type SignatureVerdict,
} from './verdict.ts';

/** The algorithm of keys, and of signatures over the file itself. */
const PLAIN = 'Ed';
/** The algorithm of signatures over the file's BLAKE2b-512. */
const PREHASHED = 'ED';
const UNTRUSTED = 'untrusted comment:';
const TRUSTED = 'trusted comment: ';

const ALGORITHM_BYTES = 2;
const KEY_ID_BYTES = 8;
const KEY_START = ALGORITHM_BYTES + KEY_ID_BYTES;
const PUBLIC_KEY_BYTES = KEY_START + 32;
const SECRET_KEY_BYTES = 158;
const SIGNATURE_BYTES = KEY_START + 64;

/**
 * A minisign signature, as minisign makes them since 0.10: over the BLAKE2b-512 of the file, with a second signature
 * over the first and the trusted comment (https://jedisct1.github.io/minisign/#signature-format).
 */
export function verifyMinisign({ key, signature, data }: SignatureInput): SignatureVerdict {
  const [untrusted = '', first = '', trusted = '', second = '', ...more] = signature.trimEnd().split(/\r?\n/);
  const signed = readBase64(first);
  const global = readBase64(second);
  if (
    !untrusted.startsWith(UNTRUSTED) ||
    !trusted.startsWith(TRUSTED) ||
    more.length > 0 ||
    !signed ||
    !global
  ) {
    return invalid('this is not a minisign signature: four lines, as in the .minisig file');
  }
  const algorithm = signed.toString('latin1', 0, ALGORITHM_BYTES);
  if (algorithm === PLAIN) return invalid('this is a legacy minisign signature: sign again without -l');
  if (algorithm !== PREHASHED || signed.length !== SIGNATURE_BYTES) {
    return invalid('the minisign signature is of an unknown kind');
  }
  if (key.length !== PUBLIC_KEY_BYTES) return invalid('the registered key is no minisign key');
  if (!signed.subarray(ALGORITHM_BYTES, KEY_START).equals(key.subarray(ALGORITHM_BYTES, KEY_START))) {
    return otherKey(`the signature is by key ${spellKeyId(signed)}, not by ${spellKeyId(key)}`);
  }
  const publicKey = key.subarray(KEY_START);
  const ofFile = signed.subarray(KEY_START);
  const message = createHash('blake2b512').update(data).digest();
  if (!verifyEd25519(publicKey, { message, signature: ofFile })) return invalid(NOT_OF_THESE_BYTES);
  const comment = Buffer.from(trusted.slice(TRUSTED.length), 'utf8');
  if (!verifyEd25519(publicKey, { message: Buffer.concat([ofFile, comment]), signature: global })) {
    return invalid("the signature's trusted comment was changed");
  }
  const keyId = spellKeyId(key);
  return { kind: 'valid', keyId, signerId: keyId, signedAt: undefined };
}

/** A key as in `minisign.pub`, or only its base64 line. */
export function readMinisignKey(text: string): PublicKey | Refusal {
  const lines = text.trim().split(/\r?\n/);
  const line = lines.pop() ?? '';
  const bytes = readBase64(line);
  if (lines.length > 1 || lines.some((comment) => !comment.startsWith(UNTRUSTED)) || !bytes) {
    return refuse('this is not a minisign public key: two lines, as in the .pub file');
  }
  if (bytes.length === SECRET_KEY_BYTES) {
    return refuse('this is a secret key, and from now on a known one: replace it, and send public keys only');
  }
  if (bytes.length !== PUBLIC_KEY_BYTES || bytes.toString('latin1', 0, ALGORITHM_BYTES) !== PLAIN) {
    return refuse('this is not a minisign public key: it has another length or algorithm');
  }
  if (!isEd25519Key(bytes.subarray(KEY_START))) {
    return refuse('the key is weak: anyone could make its signatures');
  }
  return { kind: 'key', format: 'minisign', keyId: spellKeyId(bytes), bytes, expiresAt: undefined };
}

/** A key id as minisign shows it: the number whose little-endian bytes follow the algorithm. */
function spellKeyId(bytes: Uint8Array): string {
  const id = Buffer.from(bytes.subarray(ALGORITHM_BYTES, KEY_START));
  return id.reverse().toString('hex').toUpperCase();
}
