import { createPublicKey, verify } from 'node:crypto';

const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

/**
 * An Ed25519 signature (RFC 8032). Points of small order are refused, as libsodium does: for such a key anyone can
 * make signatures, of any message.
 */
export function verifyEd25519(
  key: Uint8Array,
  input: { message: Uint8Array; signature: Uint8Array },
): boolean {
  const { message, signature } = input;
  if (!isEd25519Key(key) || signature.length !== SIGNATURE_BYTES) return false;
  if (!isOfLargeOrder(signature.subarray(0, KEY_BYTES))) return false;
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key).toString('base64url') };
  return verify(null, message, createPublicKey({ key: jwk, format: 'jwk' }), signature);
}

/** Whether these are the canonical bytes of a point that is not of small order. */
export function isEd25519Key(key: Uint8Array): boolean {
  return key.length === KEY_BYTES && isCanonical(key) && isOfLargeOrder(key);
}

/** The y coordinate, little-endian without the sign of x, is below p = 2^255 - 19. */
function isCanonical(point: Uint8Array): boolean {
  const y = clearSign(point);
  return !(y[31] === 0x7f && y.subarray(1, 31).every((byte) => byte === 0xff) && (y[0] ?? 0) >= 0xed);
}

/** The y coordinates of the points whose order divides 8, and the two spellings of them that exceed p. */
const SMALL_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

function isOfLargeOrder(point: Uint8Array): boolean {
  return !SMALL_ORDER.has(clearSign(point).toString('hex'));
}

function clearSign(point: Uint8Array): Buffer {
  const y = Buffer.from(point);
  y[31] = (y[31] ?? 0) & 0x7f;
  return y;
}
