import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import {
  CompactSign,
  calculateJwkThumbprint,
  compactVerify,
  createLocalJWKSet,
  decodeProtectedHeader,
} from 'jose';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/core/canonical-json.ts';
import {
  createReceiptSigner,
  newReceiptKeyPem,
  opaquePayer,
  type ReceiptPayload,
  verifyReceipt,
} from '../../src/provenance/index.ts';
import { createSigner, ISSUER, PAYLOAD } from './fixtures.ts';

/** Signs anything as a stranger with our key would, to show what is refused besides a bad signature. */
function signAnyway(pem: string, payload: unknown): string {
  const signer = createReceiptSigner({ issuer: ISSUER, privateKey: pem, retiredPublicKeys: [] });
  return signer.sign(payload as ReceiptPayload);
}

describe('a signed receipt', () => {
  it('verifies with a stock JOSE library and the published keys alone', async () => {
    const signer = createSigner();
    const jwks = JSON.parse(JSON.stringify(signer.jwks()));
    const verified = await compactVerify(signer.sign(PAYLOAD), createLocalJWKSet(jwks));
    expect(JSON.parse(Buffer.from(verified.payload).toString())).toEqual(PAYLOAD);
    expect(verified.protectedHeader).toEqual({ alg: 'EdDSA', kid: signer.kid, typ: 'mcp-receipt+jws' });
  });

  it('is the same text every time', () => {
    const signer = createSigner();
    const shuffled = Object.fromEntries(Object.entries(PAYLOAD).reverse()) as ReceiptPayload;
    expect(signer.sign(shuffled)).toBe(signer.sign(PAYLOAD));
  });

  it('says in its payload exactly the canonical JSON of the receipt', () => {
    const [, payload = ''] = createSigner().sign(PAYLOAD).split('.');
    expect(Buffer.from(payload, 'base64url').toString()).toBe(canonicalJson(PAYLOAD));
  });

  it('names its key by the RFC 7638 thumbprint', async () => {
    const signer = createSigner();
    const [key] = signer.jwks().keys;
    expect(signer.kid).toBe(await calculateJwkThumbprint({ ...key }));
    expect(decodeProtectedHeader(signer.sign(PAYLOAD)).kid).toBe(key?.kid);
  });

  it('verifies here and gives back what it says', async () => {
    const signer = createSigner();
    expect(await verifyReceipt(signer.sign(PAYLOAD), signer.jwks())).toEqual({
      kind: 'valid',
      payload: PAYLOAD,
      kid: signer.kid,
    });
  });

  it.each(Object.keys(PAYLOAD) as (keyof ReceiptPayload)[])(
    'does not verify with another %s',
    async (field) => {
      const signer = createSigner();
      const value = PAYLOAD[field];
      const changed = typeof value === 'number' ? value + 1 : typeof value === 'string' ? `${value}0` : null;
      const [header, , signature] = signer.sign(PAYLOAD).split('.');
      const payload = Buffer.from(canonicalJson({ ...PAYLOAD, [field]: changed })).toString('base64url');
      const verdict = await verifyReceipt(`${header}.${payload}.${signature}`, signer.jwks());
      expect(verdict).toEqual({ kind: 'invalid', reason: 'the signature does not verify' });
    },
  );

  it('does not verify with any one character of it changed', async () => {
    const signer = createSigner();
    const jws = signer.sign(PAYLOAD);
    for (let at = 0; at < jws.length; at++) {
      const other = jws[at] === 'A' ? 'B' : 'A';
      const verdict = await verifyReceipt(jws.slice(0, at) + other + jws.slice(at + 1), signer.jwks());
      expect(verdict.kind).toBe('invalid');
    }
  });

  it('has one spelling: not even the spare bits of its last character are free', async () => {
    const signer = createSigner();
    const jws = signer.sign(PAYLOAD);
    for (const last of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=') {
      const changed = jws.slice(0, -1) + last;
      const { kind } = await verifyReceipt(changed, signer.jwks());
      expect(kind).toBe(changed === jws ? 'valid' : 'invalid');
    }
  });

  it.each([undefined, 'JWT', 'mcp-receipt-batch+jws'])('is not one under the type %s', async (typ) => {
    const pem = newReceiptKeyPem();
    const { kid, jwks } = createReceiptSigner({ issuer: ISSUER, privateKey: pem, retiredPublicKeys: [] });
    const jws = await new CompactSign(Buffer.from(canonicalJson(PAYLOAD)))
      .setProtectedHeader({ alg: 'EdDSA', kid, ...(typ === undefined ? {} : { typ }) })
      .sign(createPrivateKey(pem));
    expect(await verifyReceipt(jws, jwks())).toEqual({
      kind: 'invalid',
      reason: 'the JWS is not a mcp-receipt+jws',
    });
  });

  it('does not verify under another key', async () => {
    const verdict = await verifyReceipt(createSigner().sign(PAYLOAD), createSigner().jwks());
    expect(verdict.kind).toBe('invalid');
  });

  it('is not mistaken for the signature of a batch', async () => {
    const signer = createSigner();
    const jws = signer.signBatch({
      v: 1,
      iss: ISSUER,
      batch: PAYLOAD.jti,
      root: PAYLOAD.code,
      leaf_count: 1,
      log: 'x',
      iat: 1,
    });
    expect(await verifyReceipt(jws, signer.jwks())).toMatchObject({ kind: 'invalid' });
  });

  it.each([
    ['a field too many', { ...PAYLOAD, note: 'x' }],
    ['a field too few', { ...PAYLOAD, seq: undefined }],
    ['a price that is a number', { ...PAYLOAD, price_mcents: 250 }],
    ['another version', { ...PAYLOAD, v: 2 }],
    ['no object', 'receipt'],
  ])('is refused with %s, even well signed', async (_, payload) => {
    const pem = newReceiptKeyPem();
    const { jwks } = createReceiptSigner({ issuer: ISSUER, privateKey: pem, retiredPublicKeys: [] });
    expect(await verifyReceipt(signAnyway(pem, payload), jwks())).toEqual({
      kind: 'invalid',
      reason: 'the payload is not canonical',
    });
  });

  it.each(['', '.', '..', 'a.b', 'a.b.c', '{}', 'e30.e30.', 'x'.repeat(100_000)])(
    'verifies to a plain refusal, not a throw, from %j',
    async (jws) => {
      expect((await verifyReceipt(jws, createSigner().jwks())).kind).toBe('invalid');
      expect((await verifyReceipt(jws, { keys: [] })).kind).toBe('invalid');
    },
  );
});

describe('the keys of receipts', () => {
  it('may be PEM or JWK and sign alike', () => {
    const pem = newReceiptKeyPem();
    const jwk = createPrivateKey(pem).export({ format: 'jwk' });
    const input = { issuer: ISSUER, retiredPublicKeys: [] };
    const [a, b] = [pem, jwk].map((privateKey) => createReceiptSigner({ ...input, privateKey }));
    expect(a?.sign(PAYLOAD)).toBe(b?.sign(PAYLOAD));
  });

  it('keep verifying old receipts after a rotation, and each is listed once', async () => {
    const oldPem = newReceiptKeyPem();
    const before = createReceiptSigner({ issuer: ISSUER, privateKey: oldPem, retiredPublicKeys: [] });
    const [oldPublic = {}] = before.jwks().keys;
    const after = createReceiptSigner({
      issuer: ISSUER,
      privateKey: newReceiptKeyPem(),
      retiredPublicKeys: [{ ...oldPublic }, { ...oldPublic }],
    });
    expect(after.jwks().keys.map(({ kid }) => kid)).toEqual([after.kid, before.kid]);
    expect((await verifyReceipt(before.sign(PAYLOAD), after.jwks())).kind).toBe('valid');
    expect((await verifyReceipt(after.sign(PAYLOAD), after.jwks())).kind).toBe('valid');
  });

  it('never publish a private half, even of an old private key handed over whole', () => {
    const signer = createReceiptSigner({
      issuer: ISSUER,
      privateKey: newReceiptKeyPem(),
      retiredPublicKeys: [newReceiptKeyPem(), createPrivateKey(newReceiptKeyPem()).export({ format: 'jwk' })],
    });
    expect(signer.jwks().keys).toHaveLength(3);
    for (const key of signer.jwks().keys) {
      expect(Object.keys(key).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x']);
    }
  });

  it.each([
    ['nonsense', 'not a key'],
    [
      'an RSA key',
      generateKeyPairSync('rsa', { modulusLength: 2048 })
        .privateKey.export({ type: 'pkcs8', format: 'pem' })
        .toString(),
    ],
    [
      'an X25519 key',
      generateKeyPairSync('x25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ],
  ])('are refused at start-up when they are %s, without quoting them', (_, privateKey) => {
    expect(() => createReceiptSigner({ issuer: ISSUER, privateKey, retiredPublicKeys: [] })).toThrow(
      /^A receipt key must be an Ed25519 key, as PEM or JWK\.$/,
    );
  });
});

describe('the payer of a receipt', () => {
  it('is one name per account that tells nothing without the salt', () => {
    const salt = Buffer.alloc(32, 1);
    const name = opaquePayer(salt, PAYLOAD.jti);
    expect(name).toMatch(/^payer:[0-9a-f]{32}$/);
    expect(opaquePayer(salt, PAYLOAD.jti)).toBe(name);
    expect(opaquePayer(salt, PAYLOAD.tool_id)).not.toBe(name);
    expect(opaquePayer(Buffer.alloc(32, 2), PAYLOAD.jti)).not.toBe(name);
  });
});
