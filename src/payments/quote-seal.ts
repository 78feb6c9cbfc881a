import { timingSafeEqual } from 'node:crypto';
import { createMac, deriveKey, type Mac, sha256, takeRandomText, writeRandomBytes } from '../core/bytes.ts';
import { addMs, type Clock } from '../core/clock.ts';
import { invariant } from '../core/invariant.ts';
import { millicents } from '../core/money.ts';
import type { Purpose, Quote } from './quote.ts';

export type QuoteTerms = Omit<Quote, 'id' | 'expiresAt'>;

/** A quote as its token keeps it: what is sold is in the request that brings it. */
export type SealedQuote = Omit<Quote, 'resource'>;

export type QuoteOpening =
  | { kind: 'open'; quote: SealedQuote }
  /** Ours, and too old; the quote is what it was, for comparing ids with an earlier claim. */
  | { kind: 'expired'; quote: SealedQuote }
  | { kind: 'tampered' };

/** Quotes on the same terms until the same time, each with a secret id of its own. */
export type QuoteSeries = {
  expiresAt: Date;
  /** The token of one more; it is kept nowhere. */
  next(): string;
};

export type QuoteSealer = {
  issue(terms: QuoteTerms): Quote;
  /** For callers who ask alike: a quote of it is `issue` and `seal` in one. */
  series(terms: QuoteTerms): QuoteSeries;
  /** The quote as a token the client echoes: the price lock, readable by us alone. */
  seal(quote: Quote): string;
  open(token: string): QuoteOpening;
};

const PREFIX = 'q3.';
const MAC_BYTES = 16;
/** id 16, purpose 1, amount 6, request digest 32, expiry 6 (Unix milliseconds), run timeout 4 (milliseconds). */
const QUOTE_BYTES = 65;
const AT = { id: 0, purpose: 16, amount: 17, digest: 23, expires: 55, timeout: 61 };
const ID_BYTES = 16;
const DIGEST_BYTES = 32;
const UINT48_BYTES = 6;
const TOKEN = /^q3\.[A-Za-z0-9_-]{108}$/;
/** By their place in a token; what was there once stays there. */
const PURPOSES = ['call', 'signup', 'topup'] as const satisfies readonly Purpose[];

/**
 * Puts quotes under a MAC (HMAC-SHA256, cut to 128 bits), so that no row is kept for a challenge nobody answers.
 * Nothing in a quote is hidden from who received it; its id is what nobody else knows. The first secret signs
 * and every one opens, which is how a secret is replaced without refusing quotes under way.
 */
export function createQuoteSealer(deps: {
  secrets: readonly Buffer[];
  clock: Clock;
  lifetimeMs: number;
}): QuoteSealer {
  const macs = deps.secrets.map((secret) => createMac(deriveKey(secret, 'quote-mac')));
  const [sign] = macs;
  if (!sign) throw new RangeError('a quote sealer needs a secret');
  return {
    issue: ({ purpose, amount, requestDigest, resource, runTimeoutMs }) => ({
      id: takeRandomText(ID_BYTES),
      purpose,
      amount,
      requestDigest,
      resource,
      expiresAt: addMs(deps.clock.now(), deps.lifetimeMs),
      runTimeoutMs,
    }),
    series(terms) {
      const expiresAt = addMs(deps.clock.now(), deps.lifetimeMs);
      const bytes = Buffer.alloc(QUOTE_BYTES + MAC_BYTES);
      encode({ ...terms, id: '', expiresAt }, bytes);
      return {
        expiresAt,
        next() {
          writeRandomBytes(bytes, AT.id, ID_BYTES);
          writeMac(sign, bytes);
          return PREFIX + bytes.toString('base64url');
        },
      };
    },
    seal(quote) {
      const bytes = Buffer.allocUnsafe(QUOTE_BYTES + MAC_BYTES);
      encode(quote, bytes);
      writeMac(sign, bytes);
      return PREFIX + bytes.toString('base64url');
    },
    open(token) {
      if (!TOKEN.test(token)) return { kind: 'tampered' };
      const bytes = Buffer.from(token.slice(PREFIX.length), 'base64url');
      const isOurs = macs.some((mac) => isMarkedBy(mac, bytes));
      return isOurs ? judge(decode(bytes), deps.clock.now()) : { kind: 'tampered' };
    },
  };
}

/** What a claim keeps of a quote: enough to recognise its secret id, not enough to show it. */
export function hashQuoteId(quote: Pick<Quote, 'id'>): Buffer {
  return sha256('quote-id', quote.id);
}

function judge(quote: SealedQuote, now: Date): QuoteOpening {
  return quote.expiresAt > now ? { kind: 'open', quote } : { kind: 'expired', quote };
}

/** Puts the MAC behind the quote. */
function writeMac(mac: Mac, bytes: Buffer): void {
  bytes.write(mac(bytes.subarray(0, QUOTE_BYTES), 'hex'), QUOTE_BYTES, MAC_BYTES, 'hex');
}

function isMarkedBy(mac: Mac, bytes: Buffer): boolean {
  const own = Buffer.from(bytes);
  writeMac(mac, own);
  return timingSafeEqual(own, bytes);
}

function encode(quote: Quote, bytes: Buffer): void {
  bytes.write(quote.id, AT.id, ID_BYTES, 'base64url');
  bytes.writeUInt8(PURPOSES.indexOf(quote.purpose), AT.purpose);
  bytes.writeUIntBE(Number(quote.amount), AT.amount, UINT48_BYTES);
  bytes.write(quote.requestDigest, AT.digest, DIGEST_BYTES, 'hex');
  bytes.writeUIntBE(quote.expiresAt.getTime(), AT.expires, UINT48_BYTES);
  bytes.writeUInt32BE(quote.runTimeoutMs, AT.timeout);
}

function decode(bytes: Buffer): SealedQuote {
  const purpose = PURPOSES[bytes.readUInt8(AT.purpose)];
  invariant(purpose, 'a quote that we signed has a purpose');
  return {
    purpose,
    id: bytes.toString('base64url', AT.id, AT.id + ID_BYTES),
    amount: millicents(BigInt(bytes.readUIntBE(AT.amount, UINT48_BYTES))),
    requestDigest: bytes.toString('hex', AT.digest, AT.digest + DIGEST_BYTES),
    expiresAt: new Date(bytes.readUIntBE(AT.expires, UINT48_BYTES)),
    runTimeoutMs: bytes.readUInt32BE(AT.timeout),
  };
}
