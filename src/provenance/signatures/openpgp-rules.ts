import type { Config, PublicKeyPacket, PublicSubkeyPacket } from 'openpgp';
import { readArmor, readBase64 } from './text.ts';

export type Openpgp = typeof import('openpgp');

/** Loaded when it is first needed: the library is large, and most of what starts never meets a signature. */
export function loadOpenpgp(): Promise<Openpgp> {
  return import('openpgp');
}

const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 8192;
const RSA_EXPONENT_BYTES_MAX = 8;

/** Bits of the hashes that count; the others are too short or broken. */
const HASH_BITS = new Map<number | null, number>([
  [8, 256],
  [9, 384],
  [10, 512],
]);

/** GnuPG refuses a hash that is shorter than the curve; Ed25519 takes any of ours. */
const CURVE_HASH_BITS = new Map<string | undefined, number>([
  ['nistP256', 256],
  ['nistP384', 384],
  ['nistP521', 512],
  ['ed25519Legacy', 256],
]);

/** What the library itself is to refuse, on every signature it looks at inside a certificate. */
export function strictConfig({ config, enums }: Openpgp): Config {
  const broken = new Set([enums.hash.md5, enums.hash.sha1, enums.hash.ripemd]);
  return {
    ...config,
    minRSABits: RSA_BITS_MIN,
    rejectHashAlgorithms: broken,
    rejectMessageHashAlgorithms: broken,
    ignoreMalformedPackets: false,
  };
}

/** The binary form of what came armored, or as base64; undefined when it is neither. */
export function readBinary(text: string, label: string): Uint8Array | undefined {
  const body = readArmor(text, label);
  if (body === undefined) return readBase64(text.replace(/\s/g, ''));
  // Headers, an empty line, base64, and a checksum that says nothing (RFC 9580, 6.1).
  const [, base64 = ''] = /^(?:[^\n]*: [^\n]*\n)*[ \t\r]*\n([\s\S]*)$/.exec(body) ?? [];
  return readBase64(base64.replace(/\n=[A-Za-z0-9+/]{4}\s*$/, '').replace(/\s/g, ''));
}

type KeyPacket = Pick<PublicKeyPacket | PublicSubkeyPacket, 'getAlgorithmInfo' | 'publicParams' | 'version'>;

/** Why signatures of this kind of key are not taken: only what GnuPG 2.2 and later verify, and nothing weak. */
export function refuseAlgorithm(packet: KeyPacket): string | undefined {
  if (packet.version !== 4)
    return `only keys of version 4 are taken, and this one has version ${packet.version}`;
  const { algorithm, bits = 0, curve } = packet.getAlgorithmInfo();
  if (algorithm === 'rsaEncryptSign' || algorithm === 'rsaSign') {
    const isOrdinary =
      bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX && exponentBytesOf(packet) <= RSA_EXPONENT_BYTES_MAX;
    return isOrdinary
      ? undefined
      : `an RSA key must have ${RSA_BITS_MIN} to ${RSA_BITS_MAX} bits and an ordinary exponent`;
  }
  const isCurveTaken = (algorithm === 'ecdsa' || algorithm === 'eddsaLegacy') && CURVE_HASH_BITS.has(curve);
  return isCurveTaken ? undefined : `keys of this algorithm are not taken (${curve ?? algorithm})`;
}

/** Why a signature with this hash by this key is not taken. */
export function refuseHash(hash: number | null, packet: KeyPacket): string | undefined {
  const bits = HASH_BITS.get(hash);
  if (bits === undefined) return 'the hash is weak or unknown: sign with --digest-algo SHA512';
  const bitsMin = CURVE_HASH_BITS.get(packet.getAlgorithmInfo().curve) ?? 0;
  return bits < bitsMin
    ? `this key needs a hash of ${bitsMin} bits: sign with --digest-algo SHA512`
    : undefined;
}

function exponentBytesOf({ publicParams }: KeyPacket): number {
  return 'e' in publicParams && publicParams.e instanceof Uint8Array
    ? publicParams.e.length
    : Number.POSITIVE_INFINITY;
}

/** What the library complained about, in one line. */
export function describeError(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return (
    message
      .replace(/[^\x20-\x7e]+/g, ' ')
      .slice(0, 200)
      .trim() || 'malformed'
  );
}
