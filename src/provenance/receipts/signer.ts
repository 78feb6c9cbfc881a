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
  /** What other protocols want signed by us; the `kid` is a DID URL that `didDocument` answers for. */
  signStatement(statement: object): string;
  /** The current key first, then those that were retired, so that old receipts stay verifiable. */
  jwks(): ReceiptJwks;
  /** The same keys as the DID document of the issuer's address (W3C did:web). */
  didDocument(): object;
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
    [RECEIPT_TYP]: toHeader({ alg: 'EdDSA', kid: current.kid, typ: RECEIPT_TYP }),
    [BATCH_TYP]: toHeader({ alg: 'EdDSA', kid: current.kid, typ: BATCH_TYP }),
  };

  const did = didOf(input.issuer);
  const statementHeader = toHeader({ alg: 'EdDSA', kid: `${did}#${current.kid}` });

  function signUnder(header: string, payload: object): string {
    const input = `${header}.${Buffer.from(canonicalJson(payload)).toString('base64url')}`;
    return `${input}.${sign(null, Buffer.from(input), privateKey).toString('base64url')}`;
  }

  return {
    issuer: input.issuer,
    kid: current.kid,
    sign: (payload) => signUnder(headers[RECEIPT_TYP], payload),
    signBatch: (payload) => signUnder(headers[BATCH_TYP], payload),
    signStatement: (statement) => signUnder(statementHeader, statement),
    jwks: () => ({ keys: keys.map((key) => ({ ...key })) }),
    didDocument: () => toDidDocument(did, keys),
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

function toHeader(header: { alg: 'EdDSA'; kid: string; typ?: string }): string {
  return Buffer.from(canonicalJson(header)).toString('base64url');
}

/** `https://market.example:8443/a` is `did:web:market.example%3A8443:a` (did:web, section 3.2). */
function didOf(issuer: string): string {
  if (!URL.canParse(issuer)) return `did:web:${encodeURIComponent(issuer)}`;
  const { host, pathname } = new URL(issuer);
  const path = pathname.split('/').filter((part) => part !== '');
  return ['did:web', host, ...path].map((part, at) => (at === 0 ? part : encodeURIComponent(part))).join(':');
}

function toDidDocument(did: string, keys: readonly ReceiptJwk[]): object {
  const idOf = ({ kid }: ReceiptJwk) => `${did}#${kid}`;
  return {
    '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/suites/jws-2020/v1'],
    id: did,
    verificationMethod: keys.map((key) => ({
      ...{ id: idOf(key), type: 'JsonWebKey2020', controller: did },
      publicKeyJwk: { kty: key.kty, crv: key.crv, x: key.x },
    })),
    // Only the current key speaks; retired ones are kept for what they signed.
    assertionMethod: keys.slice(0, 1).map(idOf),
  };
}
