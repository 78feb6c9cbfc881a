import { deriveKey, hmacSha256, sha256Hex, takeRandomBytes } from '../../../core/bytes.ts';
import type { Clock } from '../../../core/clock.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import type { Bolt11Offer, Offer } from '../../rail.ts';
import type { Challenge, ChallengeInput, CredentialReading, RefusalCode, Wire } from '../../wire.ts';
import { readCaveats, writeCaveats } from './caveats.ts';
import { decodeMacaroon, encodeMacaroon, isSignedBy, type Macaroon, mintMacaroon } from './macaroon.ts';

export type L402WireDeps = {
  /** The first signs, every one verifies: how a secret is replaced while tokens are under way. */
  secrets: readonly Buffer[];
  clock: Clock;
  log: Log;
};

/**
 * The wire of L402 (protocol-specification.md; LSAT is its former name). A token is bound to one quote, and
 * its payment is used once like any other: the claim is on the payment hash. No row is kept for a token.
 */
export function createL402Wire(deps: L402WireDeps): Wire {
  const keys = deps.secrets.map((secret) => deriveKey(secret, 'l402'));
  const [signingKey] = keys;
  if (!signingKey) throw new RangeError('the L402 wire needs a secret');
  return {
    name: 'l402',
    challenge: (input) => challenge(signingKey, input),
    // An invoice is minted for one quote alone: nobody else is asked alike.
    prepare: () => undefined,
    read(carried) {
      const authorization = carried.header('authorization');
      const credentials = authorization === undefined ? [] : findCredentials(authorization);
      if (credentials.length === 0) return undefined;
      const reading = readCredential(keys, deps.clock, credentials);
      if (reading.kind === 'malformed') {
        deps.log.debug({ reason: reading.reason }, 'a malformed L402 credential');
      }
      return reading;
    },
    // The protocol has no receipt header; what the gateway adds to every paid answer stands alone.
    receipt: () => [],
  };
}

const LOCATION = 'l402';
const VERSION = 0;
const HASH_BYTES = 32;
const TOKEN_ID_BYTES = 32;
const IDENTIFIER_BYTES = 2 + HASH_BYTES + TOKEN_ID_BYTES;
const CHALLENGE_CHARS_MAX = 8 * 1024;
const TOKEN_CHARS_MAX = 8 * 1024;
const CAVEATS_MAX = 16;

function challenge(signingKey: Buffer, input: ChallengeInput): Challenge | undefined {
  const offer = input.offers.find(isBolt11);
  if (!offer) return undefined;
  const token = mintToken(signingKey, offer, input);
  const value = spellChallenge(token, offer.invoice);
  invariant(value.length <= CHALLENGE_CHARS_MAX, `an L402 challenge of ${value.length} characters`);
  return {
    headers: [['WWW-Authenticate', value]],
    body: { error: input.refusal?.detail ?? 'Payment required' },
  };
}

function isBolt11(offer: Offer): offer is Bolt11Offer {
  return offer.kind === 'bolt11';
}

/**
 * Newer clients look for `token`, older ones for `macaroon`. The order matters although the grammar says it
 * does not: the interceptors of Aperture, old and new, match `L402 macaroon="...", invoice="..."` as one piece.
 */
function spellChallenge(token: string, invoice: string): string {
  return `L402 macaroon="${token}", invoice="${invoice}", version="${VERSION}", token="${token}"`;
}

function mintToken(signingKey: Buffer, offer: Bolt11Offer, input: ChallengeInput): string {
  const identifier = Buffer.alloc(IDENTIFIER_BYTES);
  identifier.writeUInt16BE(VERSION, 0);
  identifier.write(offer.paymentHash, 2, 'hex');
  takeRandomBytes(TOKEN_ID_BYTES).copy(identifier, 2 + HASH_BYTES);
  const rootKey = deriveRootKey(signingKey, identifier);
  const caveats = writeCaveats(input.quote, input.quoteToken);
  return encodeMacaroon(mintMacaroon({ rootKey, identifier, location: LOCATION, caveats })).toString(
    'base64',
  );
}

/** A root key for each token, which nobody has to remember. */
function deriveRootKey(key: Buffer, identifier: Buffer): Buffer {
  return hmacSha256(key, identifier);
}

/** What stands behind `L402` or `LSAT` in a header that may be folded with other schemes. */
function findCredentials(header: string): string[] {
  const unquoted = header.includes('"') ? header.replaceAll(/"[^"]*"/g, '""') : header;
  return [...unquoted.matchAll(/(?:^|,)[ \t]*(?:L402|LSAT)(?:[ \t]+([^\s,]*)|(?=,|$))/gi)].map(
    ([, credential = '']) => credential,
  );
}

function readCredential(
  keys: readonly Buffer[],
  clock: Clock,
  [credential = '', ...others]: string[],
): CredentialReading {
  if (others.length > 0) return malformed('Send one L402 token at a time.');
  const split = credential.lastIndexOf(':');
  if (split < 0) return malformed('An L402 credential is <token>:<preimage>, with a colon between.');
  const [token, preimage] = [credential.slice(0, split), credential.slice(split + 1).toLowerCase()];
  if (!/^(?:[0-9a-f]{64})?$/.test(preimage)) return malformed('The preimage must be 64 hex digits, or none.');
  const macaroon = parseToken(token);
  if (!macaroon) return malformed('The token is not a base64-encoded macaroon of version 2.');
  const paymentHash = readPaymentHash(macaroon.identifier);
  if (!paymentHash || !isOurs(macaroon, keys)) {
    return malformed('The token is not one of ours, or was changed.', 'unknown-challenge');
  }
  const permission = readCaveats(macaroon.caveats, clock);
  if (permission.kind === 'refused') return malformed(permission.reason, permission.code);
  // An empty preimage proves nothing and asks what became of the payment.
  if (preimage !== '' && sha256Hex(Buffer.from(preimage, 'hex')) !== paymentHash) {
    return malformed('The preimage is not the one of the invoice.', 'verification-failed');
  }
  const form = { kind: 'preimage', paymentHash, preimage } as const;
  const { quoteToken, expired: refusal } = permission;
  return {
    kind: 'credential',
    credential: { wire: 'l402', form, quoteToken, ...(refusal ? { refusal } : {}) },
  };
}

function parseToken(token: string): Macaroon | undefined {
  if (token.length > TOKEN_CHARS_MAX || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(token)) return undefined;
  const macaroon = decodeMacaroon(Buffer.from(token, 'base64'));
  return macaroon && macaroon.caveats.length <= CAVEATS_MAX ? macaroon : undefined;
}

/** L402, macaroon-spec.md: version (u16), payment hash, token id. */
function readPaymentHash(identifier: Buffer): string | undefined {
  if (identifier.length !== IDENTIFIER_BYTES || identifier.readUInt16BE(0) !== VERSION) return undefined;
  return identifier.toString('hex', 2, 2 + HASH_BYTES);
}

function isOurs(macaroon: Macaroon, keys: readonly Buffer[]): boolean {
  return keys.some((key) => isSignedBy(macaroon, deriveRootKey(key, macaroon.identifier)));
}

function malformed(reason: string, code: RefusalCode = 'malformed'): CredentialReading {
  return { kind: 'malformed', reason, code };
}
