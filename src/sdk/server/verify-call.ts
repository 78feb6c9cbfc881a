import { createHash, timingSafeEqual } from 'node:crypto';
import { errors, jwtVerify } from 'jose';
import { z } from 'zod';
import { createKeys, type Keys } from './keys.ts';
import { CallRefused, type RefusalReason } from './refused.ts';
import type { ReplayCache } from './replays.ts';

/** A call that the gateway vouches for. */
export type MillicentCall = {
  /** The id of your server in the gateway's catalog. */
  audience: string;
  /** The same for the same payer at your server, and nowhere else. */
  subject: string;
  /** How the call is paid: `gateway` is the gateway itself, which looks what you offer. */
  tier: 'free' | 'key' | 'credential' | 'gateway';
  tokenId: string;
  issuedAt: Date;
  expiresAt: Date;
  /** SHA-256 over what was bought, hex, as it stands in the receipt. */
  callDigest: string | undefined;
};

export type VerifierOptions = {
  /** The gateway's public address, such as `https://gateway.example`. */
  issuer: string;
  /** Your server's id in its catalog, or several. */
  audience: string | readonly string[];
  /** Where its keys are, if not at `/.well-known/jwks.json`. */
  jwksUrl?: string;
  /** Refuses a token that was used before in this process. */
  replays?: ReplayCache;
  /** How far the clocks may be apart. */
  clockSkewSeconds?: number;
  now?: () => Date;
  fetch?: typeof globalThis.fetch;
};

export type VerifyInput = {
  headers: Headers | Record<string, string | readonly string[] | undefined>;
  /** The body, byte for byte as it came; empty when there is none. */
  body: string | Uint8Array;
};

/** Resolves with what the gateway says of a request, or rejects with `CallRefused`. */
export type MillicentVerifier = (input: VerifyInput) => Promise<MillicentCall>;

const TYP = 'mcp-call+jwt';
const LIFETIME_SECONDS = 15 * 60;
const CLOCK_SKEW_SECONDS = 30;
const TOKEN_CHARACTERS_MAX = 4_096;

const claimsSchema = z.object({
  aud: z.string(),
  sub: z.string(),
  tier: z.enum(['free', 'key', 'credential', 'gateway']),
  jti: z.string(),
  iat: z.number(),
  exp: z.number(),
  req: z.string(),
  call: z.string().optional(),
});

/** Makes the function that tells a gateway's requests from everybody else's (RFC 7515, RFC 7519, RFC 8037). */
export function createMillicentVerifier(options: VerifierOptions): MillicentVerifier {
  const { replays, now = () => new Date() } = options;
  const issuer = options.issuer.replace(/\/+$/, '');
  const keys = createKeys({
    ...{ jwksUrl: options.jwksUrl ?? `${issuer}/.well-known/jwks.json`, now },
    fetch: options.fetch ?? globalThis.fetch,
  });
  return async ({ headers, body }) => {
    const claims = await readToken(readBearer(headers), { ...options, issuer, now: now() }, keys);
    if (!isDigest(claims.req, body)) throw new CallRefused('body', 'The token was made for another body.');
    const expiresAt = new Date(claims.exp * 1000);
    if (replays !== undefined && !replays.take(claims.jti, expiresAt, now())) {
      throw new CallRefused('replayed', 'The token was used before.');
    }
    return {
      ...{ audience: claims.aud, subject: claims.sub, tier: claims.tier, tokenId: claims.jti },
      ...{ issuedAt: new Date(claims.iat * 1000), expiresAt, callDigest: claims.call },
    };
  };
}

type ReadOptions = VerifierOptions & { now: Date };

async function readToken(token: string, options: Omit<ReadOptions, 'now'> & { now: Date }, keys: Keys) {
  const { issuer, audience, now, clockSkewSeconds = CLOCK_SKEW_SECONDS } = options;
  try {
    const { payload } = await jwtVerify(token, ({ kid }) => keys.find(kid ?? ''), {
      ...{ algorithms: ['EdDSA'], typ: TYP, issuer, audience: [audience].flat(), currentDate: now },
      ...{ clockTolerance: clockSkewSeconds, maxTokenAge: LIFETIME_SECONDS },
    });
    return claimsSchema.parse(payload);
  } catch (cause) {
    if (cause instanceof CallRefused) throw cause;
    const reason = nameReason(cause);
    throw new CallRefused(reason, `The token is refused: ${reason}.`, { cause });
  }
}

function nameReason(cause: unknown): RefusalReason {
  if (cause instanceof errors.JOSEAlgNotAllowed) return 'algorithm';
  if (cause instanceof errors.JWSSignatureVerificationFailed) return 'signature';
  if (cause instanceof errors.JWTExpired) return 'expired';
  if (!(cause instanceof errors.JWTClaimValidationFailed)) return 'malformed';
  return CLAIM_REASONS.get(cause.reason === 'missing' ? '' : cause.claim) ?? 'malformed';
}

const CLAIM_REASONS = new Map<string, RefusalReason>([
  ['typ', 'type'],
  ['iss', 'issuer'],
  ['aud', 'audience'],
  ['exp', 'expired'],
  ['nbf', 'not-yet'],
  ['iat', 'not-yet'],
]);

function readBearer(headers: VerifyInput['headers']): string {
  const value = headers instanceof Headers ? headers.get('authorization') : headers.authorization;
  const match = typeof value === 'string' ? /^Bearer +([A-Za-z0-9._-]+)$/i.exec(value) : null;
  const [, token = ''] = match ?? [];
  if (token === '' || token.length > TOKEN_CHARACTERS_MAX)
    throw new CallRefused('missing', 'There is no token.');
  return token;
}

function isDigest(claimed: string, body: string | Uint8Array): boolean {
  const expected = createHash('sha256').update(body).digest();
  const given = Buffer.from(claimed, 'base64url');
  return given.length === expected.length && timingSafeEqual(given, expected);
}
