import { constants, createPublicKey, type JsonWebKey, type KeyObject, verify } from 'node:crypto';
import { sha256 } from '../../core/bytes.ts';
import { isEd25519Key, verifyEd25519 } from './ed25519.ts';
import { openWire, readMpint, type SshWire } from './ssh-wire.ts';
import { readBase64 } from './text.ts';
import { type PublicKey, type Refusal, refuse } from './verdict.ts';

export type SshKey = {
  kind: 'ssh-key';
  keyId: string;
  /** Whether `signature`, the string that a signature blob holds for `algorithm`, is of `message`. */
  verify(input: { algorithm: string; signature: Buffer; rest: Buffer; message: Buffer }): boolean;
};

const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 8192;
const RSA_EXPONENT_BYTES_MAX = 8;

/** SHA-1 (`ssh-rsa`) is not among them. */
const RSA_HASHES: ReadonlyMap<string, string> = new Map([
  ['rsa-sha2-256', 'sha256'],
  ['rsa-sha2-512', 'sha512'],
]);

/** RFC 5656: the hash depends on the size of the curve. */
const CURVES: ReadonlyMap<string, { name: string; crv: string; hash: string; scalarBytes: number }> = new Map(
  [
    ['ecdsa-sha2-nistp256', { name: 'nistp256', crv: 'P-256', hash: 'sha256', scalarBytes: 32 }],
    ['ecdsa-sha2-nistp384', { name: 'nistp384', crv: 'P-384', hash: 'sha384', scalarBytes: 48 }],
    ['ecdsa-sha2-nistp521', { name: 'nistp521', crv: 'P-521', hash: 'sha512', scalarBytes: 66 }],
  ],
);

const ED25519 = 'ssh-ed25519';
const SECURITY_KEY_ED25519 = 'sk-ssh-ed25519@openssh.com';
/** Of the flags that a security key signs: somebody touched it. */
const USER_PRESENT = 0x01;

/** A key as in `id_ed25519.pub`: type, base64, and a comment. */
export function readSshKeyText(text: string): PublicKey | Refusal {
  const [, type, base64 = ''] = /^(\S+) +(\S+)(?: [^\r\n]*)?$/.exec(text.trim()) ?? [];
  const bytes = readBase64(base64);
  if (!bytes) return refuse('this is not an SSH public key: one line, as in the .pub file');
  if (openWire(bytes).takeText() !== type) return refuse('the SSH key is of another type than it says');
  const key = readSshKey(bytes);
  if (key.kind === 'refused') return key;
  return { kind: 'key', format: 'ssh', keyId: key.keyId, bytes, expiresAt: undefined };
}

/** A public key in the wire format (RFC 4253, 6.6; RFC 5656; RFC 8709; PROTOCOL.u2f). */
export function readSshKey(bytes: Uint8Array): SshKey | Refusal {
  const wire = openWire(bytes);
  const type = wire.takeText();
  const verifier = readVerifier(type, wire);
  if (typeof verifier === 'string') return refuse(verifier);
  if (!wire.isRead()) return refuse('the SSH key is cut off, or something follows it');
  return { kind: 'ssh-key', keyId: fingerprintOf(bytes), verify: verifier };
}

/** As `ssh-keygen -l` shows it. */
export function fingerprintOf(key: Uint8Array): string {
  return `SHA256:${sha256(key).toString('base64').replace(/=+$/, '')}`;
}

/** What verifies, or why nothing does. */
function readVerifier(type: string, wire: SshWire): SshKey['verify'] | string {
  switch (type) {
    case ED25519:
      return readEd25519(wire);
    case SECURITY_KEY_ED25519:
      return readSecurityKey(wire);
    case 'ssh-rsa':
      return readRsa(wire);
    default:
      return CURVES.has(type)
        ? readEcdsa(type, wire)
        : 'this type of SSH key is not taken: make one with ssh-keygen -t ed25519';
  }
}

const WEAK = 'the Ed25519 key is malformed, or so weak that anyone could make its signatures';

function readEd25519(wire: SshWire): SshKey['verify'] | string {
  const key = wire.takeString();
  if (!isEd25519Key(key)) return WEAK;
  return ({ algorithm, signature, rest, message }) =>
    algorithm === ED25519 && rest.length === 0 && verifyEd25519(key, { message, signature });
}

/** Signed are the application, what the security key adds, and the hash of the message (PROTOCOL.u2f). */
function readSecurityKey(wire: SshWire): SshKey['verify'] | string {
  const key = wire.takeString();
  const application = wire.takeString();
  if (!isEd25519Key(key)) return WEAK;
  return ({ algorithm, signature, rest, message }) => {
    const added = openWire(rest);
    const [flags = 0] = added.takeBytes(1);
    added.takeUint32();
    if (algorithm !== SECURITY_KEY_ED25519 || !added.isRead() || (flags & USER_PRESENT) === 0) return false;
    const signed = Buffer.concat([sha256(application), rest, sha256(message)]);
    return verifyEd25519(key, { message: signed, signature });
  };
}

function readRsa(wire: SshWire): SshKey['verify'] | string {
  const exponent = readMpint(wire.takeString());
  const modulus = readMpint(wire.takeString());
  if (!exponent || !modulus) return 'the RSA key is malformed';
  const bits = 8 * modulus.length - (Math.clz32(modulus[0] ?? 0) - 24);
  if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX || exponent.length > RSA_EXPONENT_BYTES_MAX) {
    return `an RSA key must have ${RSA_BITS_MIN} to ${RSA_BITS_MAX} bits and an ordinary exponent`;
  }
  const [n, e] = [modulus.toString('base64url'), exponent.toString('base64url')];
  const key = importJwk({ kty: 'RSA', n, e });
  if (!key) return 'the RSA key is malformed';
  return ({ algorithm, signature, rest, message }) => {
    const hash = RSA_HASHES.get(algorithm);
    if (!hash || rest.length > 0) return false;
    return verify(hash, message, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
  };
}

function readEcdsa(type: string, wire: SshWire): SshKey['verify'] | string {
  const curve = CURVES.get(type);
  const name = wire.takeText();
  const point = wire.takeString();
  if (!curve || name !== curve.name || point.length !== 1 + 2 * curve.scalarBytes || point[0] !== 4) {
    return 'the ECDSA key is malformed';
  }
  const x = point.toString('base64url', 1, 1 + curve.scalarBytes);
  const y = point.toString('base64url', 1 + curve.scalarBytes);
  const key = importJwk({ kty: 'EC', crv: curve.crv, x, y });
  if (!key) return 'the ECDSA key is not a point of its curve';
  return ({ algorithm, signature, rest, message }) => {
    const scalars = readScalars(signature, curve.scalarBytes);
    if (algorithm !== type || rest.length > 0 || !scalars) return false;
    return verify(curve.hash, message, { key, dsaEncoding: 'ieee-p1363' }, scalars);
  };
}

/** r and s of an ECDSA signature (RFC 5656, 3.1.2), both as long as the curve's scalars. */
function readScalars(signature: Buffer, scalarBytes: number): Buffer | undefined {
  const wire = openWire(signature);
  const [r, s] = [readMpint(wire.takeString()), readMpint(wire.takeString())];
  if (!r || !s || !wire.isRead() || r.length > scalarBytes || s.length > scalarBytes) return undefined;
  const scalars = Buffer.alloc(2 * scalarBytes);
  scalars.set(r, scalarBytes - r.length);
  scalars.set(s, 2 * scalarBytes - s.length);
  return scalars;
}

/** OpenSSL judges the numbers, and throws for a point that is on no curve. */
function importJwk(key: JsonWebKey): KeyObject | undefined {
  try {
    return createPublicKey({ key, format: 'jwk' });
  } catch {
    return undefined;
  }
}
