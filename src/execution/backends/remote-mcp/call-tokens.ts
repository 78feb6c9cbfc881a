import { createPrivateKey, createPublicKey, hash, type KeyObject, sign } from 'node:crypto';
import { deriveKey, sha256, takeRandomText } from '../../../core/bytes.ts';
import { canonicalJson } from '../../../core/canonical-json.ts';
import { type Clock, toUnixSeconds } from '../../../core/clock.ts';
import type { Uuid } from '../../../core/ids.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Caller } from '../../exchange.ts';

export const CALL_TOKEN_TYP = 'mcp-call+jwt';
export const CALL_TOKEN_LIFETIME_S = 15 * 60;

/** A public key as `/.well-known/jwks.json` lists it. */
export type CallTokenJwk = { kty: 'OKP'; crv: 'Ed25519'; x: string; kid: string; alg: 'EdDSA'; use: 'sig' };

/** What a publisher's endpoint is shown with every request (RFC 7519; the README says each claim). */
export type CallTokens = {
  readonly issuer: string;
  /** A token for exactly these bytes of a body; without a caller the gateway asks for itself. */
  sign(input: { audience: Uuid; caller: Caller | undefined; body: string }): string;
  /** The key that signs first, then those that still verify. */
  jwks(): { keys: CallTokenJwk[] };
};

export type CallTokensDeps = {
  /** The deployment's master secrets: the key of the first signs, those of all are published. */
  secrets: readonly Uint8Array[];
  /** The gateway's public address, the `iss` of every token. */
  issuer: string;
  clock: Clock;
};

/** Signs call tokens with Ed25519 keys that every gateway of a deployment derives alike. */
export function createCallTokens({ secrets, issuer, clock }: CallTokensDeps): CallTokens {
  const pairs = secrets.map(deriveKeyPair);
  const [current] = pairs;
  invariant(current !== undefined, 'call tokens need a master secret');
  const header = encode({ alg: 'EdDSA', typ: CALL_TOKEN_TYP, kid: current.jwk.kid });
  const jwks = pairs.map(({ jwk }) => jwk);
  return {
    issuer,
    sign({ audience, caller, body }) {
      const issuedAt = toUnixSeconds(clock.now());
      const payload = encode({
        iss: issuer,
        aud: audience,
        sub: caller?.subject ?? 'gateway',
        tier: caller?.tier ?? 'gateway',
        jti: takeRandomText(JTI_BYTES),
        iat: issuedAt,
        exp: issuedAt + CALL_TOKEN_LIFETIME_S,
        req: hash('sha256', body, 'base64url'),
        call: caller?.requestDigest,
      });
      const input = `${header}.${payload}`;
      return `${input}.${sign(null, Buffer.from(input), current.privateKey).toString('base64url')}`;
    },
    jwks: () => ({ keys: jwks.map((key) => ({ ...key })) }),
  };
}

const JTI_BYTES = 16;
/** What stands before the 32 bytes of a private Ed25519 key in PKCS#8 (RFC 8410, section 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

function deriveKeyPair(secret: Uint8Array): { privateKey: KeyObject; jwk: CallTokenJwk } {
  const seed = deriveKey(secret, 'call-token');
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  invariant(x !== undefined, 'an Ed25519 key has a public half');
  // RFC 7638: the members that RFC 8037 requires, in the order of their names.
  const kid = sha256(canonicalJson({ crv: 'Ed25519', kty: 'OKP', x })).toString('base64url');
  return { privateKey, jwk: { kty: 'OKP', crv: 'Ed25519', x, kid, alg: 'EdDSA', use: 'sig' } };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
