import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
} from 'node:crypto';
import { sha256 } from '../../core/bytes.ts';
import { canonicalJson } from '../../core/canonical-json.ts';
import type { BatchPayload, ReceiptPayload } from './receipt.ts';

export const RECEIPT_TYP = 'mcp-receipt+jws';
export const BATCH_TYP = 'mcp-receipt-batch+jws';

/** An Ed25519 key, as PEM text or as a JWK. */
export type SigningKey = string | JsonWebKey;

/** A public key as `/.well-known/jwks.json` lists it. */
export type ReceiptJwk = {
  kty: 'OKP';
  crv: 'Ed25519';
  x: string;
  kid: string;
  alg: 'EdDSA';
  use: 'sig';
};
export type ReceiptJwks = { keys: ReceiptJwk[] };

/** Signs receipts. Ed25519 is deterministic: the same payload under the same key gives the same JWS. */
export type ReceiptSigner = {
  /** The `iss` of everything it signs. */
  readonly issuer: string;
  readonly kid: string;
  sign(payload: ReceiptPayload): string;
  signBatch(payload: BatchPayload): string;
  /** The current key first, then those that were retired, so that old receipts stay verifiable. */
  jwks(): ReceiptJwks;
};

export function createReceiptSigner(input: {
  issuer: string;
  privateKey: SigningKey;
  retiredPublicKeys: readonly SigningKey[];
}): ReceiptSigner {
  const privateKey = toEd25519(() =>
    typeof input.privateKey === 'string'
      ? createPrivateKey(input.privateKey)
      : createPrivateKey({ key: input.privateKey, format: 'jwk' }),
  );
  const current = toJwk(createPublicKey(privateKey));
  const retired = input.retiredPublicKeys.map((key) => toJwk(toEd25519(() => toPublicKey(key))));
  const keys = [current, ...retired].filter((key, at, all) => all.findIndex((k) => k.kid === key.kid) === at);
  const headers = {
    [RECEIPT_TYP]: toHeader(RECEIPT_TYP, current.kid),
    [BATCH_TYP]: toHeader(BATCH_TYP, current.kid),
  };

  function signAs(typ: keyof typeof headers, payload: ReceiptPayload | BatchPayload): string {
    const input = `${headers[typ]}.${Buffer.from(canonicalJson(payload)).toString('base64url')}`;
    return `${input}.${sign(null, Buffer.from(input), privateKey).toString('base64url')}`;
  }

  return {
    issuer: input.issuer,
    kid: current.kid,
    sign: (payload) => signAs(RECEIPT_TYP, payload),
    signBatch: (payload) => signAs(BATCH_TYP, payload),
    jwks: () => ({ keys: keys.map((key) => ({ ...key })) }),
  };
}

/** A fresh private key as PKCS#8 PEM, for an installation that has none yet. */
export function newReceiptKeyPem(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function toPublicKey(key: SigningKey): KeyObject {
  // Given a private key this takes its public half, so a rotation can hand over the old key as it is.
  return typeof key === 'string' ? createPublicKey(key) : createPublicKey({ key, format: 'jwk' });
}

function toEd25519(read: () => KeyObject): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = read();
  } catch {
    // The cause is left out on purpose: it may quote the key.
  }
  if (key?.asymmetricKeyType !== 'ed25519') {
    throw new Error('A receipt key must be an Ed25519 key, as PEM or JWK.');
  }
  return key;
}

/** The key's name is its thumbprint (RFC 7638, over the members RFC 8037 requires). */
function toJwk(publicKey: KeyObject): ReceiptJwk {
  const x = String(publicKey.export({ format: 'jwk' }).x);
  const kid = sha256(canonicalJson({ crv: 'Ed25519', kty: 'OKP', x })).toString('base64url');
  return { kty: 'OKP', crv: 'Ed25519', x, kid, alg: 'EdDSA', use: 'sig' };
}

function toHeader(typ: string, kid: string): string {
  return Buffer.from(canonicalJson({ alg: 'EdDSA', kid, typ })).toString('base64url');
}
