import { z } from 'zod';
import { deriveKey, sha256, takeRandomBytes } from '../core/bytes.ts';
import { addMs, type Clock } from '../core/clock.ts';
import { millicents } from '../core/money.ts';
import { seal, unseal } from '../core/seal.ts';
import type { Purpose, Quote } from './quote.ts';

export type QuoteTerms = Omit<Quote, 'id' | 'expiresAt'>;

export type QuoteOpening =
  | { kind: 'open'; quote: Quote }
  /** Ours, and too old; the quote is what it was, for comparing ids with an earlier claim. */
  | { kind: 'expired'; quote: Quote }
  | { kind: 'tampered' };

export type QuoteSealer = {
  issue(terms: QuoteTerms): Quote;
  /** The quote as a token the client echoes: the price lock, readable by us alone. */
  seal(quote: Quote): string;
  open(token: string): QuoteOpening;
};

const PREFIX = 'q1.';
const TOKEN_CHARS_MAX = 4_096;
const CONTEXT = 'quote';

const sealedSchema = z.object({
  id: z.string(),
  purpose: z.enum(['call', 'signup', 'topup']) satisfies z.ZodType<Purpose>,
  amount: z.string().regex(/^[0-9]{1,13}$/),
  digest: z.string(),
  url: z.string(),
  description: z.string(),
  expires: z.number(),
  timeout: z.number(),
});

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
export function hashQuoteId(quote: Quote): Buffer {
  return sha256('quote-id', quote.id);
}

function judge(quote: Quote, now: Date): QuoteOpening {
  return quote.expiresAt > now ? { kind: 'open', quote } : { kind: 'expired', quote };
}

function encode(quote: Quote): string {
  return JSON.stringify({
    id: quote.id,
    purpose: quote.purpose,
    amount: quote.amount.toString(),
    digest: quote.requestDigest,
    url: quote.resource.url,
    description: quote.resource.description,
    expires: quote.expiresAt.getTime(),
    timeout: quote.runTimeoutMs,
  } satisfies z.infer<typeof sealedSchema>);
}

function decode(text: string): Quote {
  const sealed = sealedSchema.parse(JSON.parse(text));
  return {
    id: sealed.id,
    purpose: sealed.purpose,
    amount: millicents(BigInt(sealed.amount)),
    requestDigest: sealed.digest,
    resource: { url: sealed.url, description: sealed.description },
    expiresAt: new Date(sealed.expires),
    runTimeoutMs: sealed.timeout,
  };
}
