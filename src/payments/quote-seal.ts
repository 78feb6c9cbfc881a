import { z } from 'zod';
import { deriveKey, sha256, takeRandomBytes } from '../core/bytes.ts';
import { addMs, type Clock } from '../core/clock.ts';
import { millicents } from '../core/money.ts';
import { seal, unseal } from '../core/seal.ts';
import type { Purpose, Quote } from './quote.ts';

export type QuoteTerms = Omit<Quote, 'id' | 'expiresAt'>;

/** A quote as its token keeps it: what is sold is in the request that brings it. */
export type SealedQuote = Omit<Quote, 'resource'>;

export type QuoteOpening =
  | { kind: 'open'; quote: SealedQuote }
  /** Ours, and too old; the quote is what it was, for comparing ids with an earlier claim. */
  | { kind: 'expired'; quote: SealedQuote }
  | { kind: 'tampered' };

export type QuoteSealer = {
  issue(terms: QuoteTerms): Quote;
  /** The quote as a token the client echoes: the price lock, readable by us alone. */
  seal(quote: Quote): string;
  open(token: string): QuoteOpening;
};

const PREFIX = 'q2.';
const TOKEN_CHARS_MAX = 1_024;
const CONTEXT = 'quote';

/** Short, as every challenge of a 402 carries it: what the request itself says again is left out. */
const sealedSchema = z.tuple([
  /** id */ z.string(),
  /** purpose */ z.enum(['call', 'signup', 'topup']) satisfies z.ZodType<Purpose>,
  /** amount */ z.string().regex(/^[0-9]{1,13}$/),
  /** request digest, base64url */ z.string(),
  /** expiry, Unix milliseconds */ z.number(),
  /** run timeout, milliseconds */ z.number(),
]);

/**
 * Seals quotes with AES-256-GCM, so that no row is kept for a challenge nobody answers. The first secret
 * seals; every one opens, which is how a secret is replaced without refusing quotes under way.
 */
export function createQuoteSealer(deps: {
  secrets: readonly Buffer[];
  clock: Clock;
  lifetimeMs: number;
}): QuoteSealer {
  const keys = deps.secrets.map((secret) => deriveKey(secret, 'quote'));
  const [sealingKey] = keys;
  if (!sealingKey) throw new RangeError('a quote sealer needs a secret');
  return {
    issue: (terms) => ({
      ...terms,
      id: takeRandomBytes(16).toString('base64url'),
      expiresAt: addMs(deps.clock.now(), deps.lifetimeMs),
    }),
    seal: (quote) => PREFIX + seal(sealingKey, encode(quote), CONTEXT).toString('base64url'),
    open(token) {
      if (!token.startsWith(PREFIX) || token.length > TOKEN_CHARS_MAX) return { kind: 'tampered' };
      const sealed = Buffer.from(token.slice(PREFIX.length), 'base64url');
      const text = unseal(keys, sealed, CONTEXT);
      return text ? judge(decode(text.toString('utf8')), deps.clock.now()) : { kind: 'tampered' };
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

function encode(quote: Quote): string {
  return JSON.stringify([
    quote.id,
    quote.purpose,
    quote.amount.toString(),
    Buffer.from(quote.requestDigest, 'hex').toString('base64url'),
    quote.expiresAt.getTime(),
    quote.runTimeoutMs,
  ] satisfies z.infer<typeof sealedSchema>);
}

function decode(text: string): SealedQuote {
  const [id, purpose, amount, digest, expires, runTimeoutMs] = sealedSchema.parse(JSON.parse(text));
  return {
    ...{ id, purpose, runTimeoutMs },
    amount: millicents(BigInt(amount)),
    requestDigest: Buffer.from(digest, 'base64url').toString('hex'),
    expiresAt: new Date(expires),
  };
}
