import { readMinisignKey, verifyMinisign } from './minisign.ts';
import { verifyOpenpgp } from './openpgp.ts';
import { readOpenpgpKey } from './openpgp-certificate.ts';
import { readSshKeyText } from './ssh-key.ts';
import { verifySshsig } from './sshsig.ts';
import {
  invalid,
  type PublicKey,
  type Refusal,
  refuse,
  type SignatureFormat,
  type SignatureInput,
  type SignatureVerdict,
} from './verdict.ts';

export const SIGNATURE_CHARACTERS_MAX = 16_384;
/** A log entry holds the key in base64 and may be 65,535 bytes long. */
export const KEY_BYTES_MAX = 40_960;
/** Armor, comments and third parties' certifications go before the key is measured. */
export const KEY_CHARACTERS_MAX = 2 * KEY_BYTES_MAX;

/** Whether `data` was signed with `key`, by the rules of the format's own tool at the time `at`. Never throws. */
export async function verifySignature(input: SignatureInput): Promise<SignatureVerdict> {
  if (input.signature.length > SIGNATURE_CHARACTERS_MAX) {
    return invalid(`a signature may have ${SIGNATURE_CHARACTERS_MAX} characters at most`);
  }
  if (input.key.length > KEY_BYTES_MAX) return invalid(`a key may have ${KEY_BYTES_MAX} bytes at most`);
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

/** Reads a public key as its tool writes it, and spells it in its one canonical form. Never throws. */
export async function parsePublicKey(format: SignatureFormat, text: string): Promise<PublicKey | Refusal> {
  if (text.length > KEY_CHARACTERS_MAX) {
    return refuse(`a key may have ${KEY_CHARACTERS_MAX} characters at most`);
  }
  if (/^-----BEGIN .*PRIVATE KEY/m.test(text)) {
    return refuse(
      'this is a private key, and from now on a known one: replace it, and send public keys only',
    );
  }
  const key = await readKey(format, text);
  if (key.kind === 'key' && key.bytes.length > KEY_BYTES_MAX) {
    return refuse(`the key has ${key.bytes.length} bytes, and ${KEY_BYTES_MAX} are allowed`);
  }
  return key;
}

/** What kind of signature a text is; undefined when none of ours. */
export function detectFormat(signature: string): SignatureFormat | undefined {
  const text = signature.slice(0, 64).trimStart();
  if (text.startsWith('-----BEGIN SSH SIGNATURE-----')) return 'ssh';
  if (text.startsWith('-----BEGIN PGP SIGNATURE-----')) return 'openpgp';
  if (text.startsWith('untrusted comment:')) return 'minisign';
  if (!/^[A-Za-z0-9+/=\s]{4,}$/.test(text)) return undefined;
  // A signature packet is tag 2: 0x88 to 0x8b in the old format, 0xc2 in the new one (RFC 4880, 4.2).
  const [tag = 0] = Buffer.from(text.slice(0, 4), 'base64');
  return (tag >= 0x88 && tag <= 0x8b) || tag === 0xc2 ? 'openpgp' : undefined;
}

function readKey(format: SignatureFormat, text: string): PublicKey | Refusal | Promise<PublicKey | Refusal> {
  switch (format) {
    case 'ssh':
      return readSshKeyText(text);
    case 'openpgp':
      return readOpenpgpKey(text);
    case 'minisign':
      return readMinisignKey(text);
    default:
      return format satisfies never;
  }
}
