import { readMinisignKey, verifyMinisign } from './minisign.ts';
import { readOpenpgpKey, verifyOpenpgp } from './openpgp.ts';
import { readSshKey } from './ssh-key.ts';
import { verifySshsig } from './sshsig.ts';

export const SIGNATURE_FORMATS = ['ssh', 'openpgp', 'minisign'] as const;
export type SignatureFormat = (typeof SIGNATURE_FORMATS)[number];

export type PublicKey = {
  kind: 'key';
  format: SignatureFormat;
  /** SSH: `SHA256:<base64>`; OpenPGP: the fingerprint, 40 upper-case hex digits; minisign: its key id, 16 of them. */
  keyId: string;
  /** One spelling of the key, whichever text it came in; what the log holds and `verifySignature` takes. */
  bytes: Buffer;
  /** What the key itself says; SSH and minisign keys say nothing. */
  expiresAt: Date | undefined;
};

export type Refusal = { kind: 'refused'; reason: string };

export type SignatureInput = {
  format: SignatureFormat;
  /** `PublicKey.bytes`. */
  key: Uint8Array;
  /** Armored, or for OpenPGP the base64 of the binary form. */
  signature: string;
  data: Uint8Array;
  /** What an SSH signature was made for; the other formats have nothing of the kind. */
  namespace: string;
  /** When the signature is judged: in a log, the time of its entry. */
  at: Date;
};

export type SignatureVerdict =
  | {
      kind: 'valid';
      keyId: string;
      /** The fingerprint of the OpenPGP subkey that signed; otherwise the same as `keyId`. */
      signerId: string;
      /** When the signer says that he signed (OpenPGP). */
      signedAt: Date | undefined;
    }
  | { kind: 'invalid'; reason: string };

export const SIGNATURE_CHARACTERS_MAX = 16_384;
/** A log entry holds the key in base64 and may be 65,535 bytes long. */
export const KEY_BYTES_MAX = 40_960;
const KEY_CHARACTERS_MAX = 2 * KEY_BYTES_MAX;

/** Reads a public key as its tool writes it, and spells it in its one canonical form. Never throws. */
export async function parsePublicKey(format: SignatureFormat, text: string): Promise<PublicKey | Refusal> {
  if (text.length > KEY_CHARACTERS_MAX) return refuse('the key is too long');
  if (/PRIVATE KEY|secret key/.test(text)) {
    return refuse('this is a secret key, and from now on a known one: replace it, and send public keys only');
  }
  const key = await readKey(format, text);
  if (key.kind === 'key' && key.bytes.length > KEY_BYTES_MAX) {
    return refuse(`the key is ${key.bytes.length} bytes, and ${KEY_BYTES_MAX} are allowed`);
  }
  return key;
}

/** Whether `data` was signed with `key`, by the rules of the format's own tool at the time `at`. Never throws. */
export async function verifySignature(input: SignatureInput): Promise<SignatureVerdict> {
  if (input.signature.length > SIGNATURE_CHARACTERS_MAX) return invalid('the signature is too long');
  if (input.key.length > KEY_BYTES_MAX) return invalid('the key is too long');
  switch (input.format) {
    case 'ssh':
      return verifySshsig(input);
    case 'openpgp':
      return verifyOpenpgp(input);
    case 'minisign':
      return verifyMinisign(input);
    default:
      return input.format satisfies never;
  }
}

/** What kind of signature a text is; undefined when none of ours. */
export function detectFormat(signature: string): SignatureFormat | undefined {
  const text = signature.slice(0, 64).trimStart();
  if (text.startsWith('-----BEGIN SSH SIGNATURE-----')) return 'ssh';
  if (text.startsWith('-----BEGIN PGP SIGNATURE-----')) return 'openpgp';
  if (text.startsWith('untrusted comment:')) return 'minisign';
  // Base64 of a signature packet: tag 2 in the old format (0x88 to 0x8b) or the new one (0xc2), RFC 4880, 4.2.
  return /^(?:i[A-P]|i[Q-Z]|i[a-v]|w[g-v])/.test(text) ? 'openpgp' : undefined;
}

function readKey(format: SignatureFormat, text: string): PublicKey | Refusal | Promise<PublicKey | Refusal> {
  switch (format) {
    case 'ssh':
      return readSshKey(text);
    case 'openpgp':
      return readOpenpgpKey(text);
    case 'minisign':
      return readMinisignKey(text);
    default:
      return format satisfies never;
  }
}

function refuse(reason: string): Refusal {
  return { kind: 'refused', reason };
}

function invalid(reason: string): SignatureVerdict {
  return { kind: 'invalid', reason };
}
