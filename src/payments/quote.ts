import type { Millicents } from '../core/money.ts';

/** What a payment is for: one tool call, a new key, or more balance on a key. */
export type Purpose = 'call' | 'signup' | 'topup';

/** Our price for one request, bounded and expiring. Sealed into a token, it is the price lock. */
export type Quote = {
  /** 128 random bits, base64url. Whoever shows it again received our challenge: treat it as a secret. */
  id: string;
  purpose: Purpose;
  amount: Millicents;
  /** SHA-256 of the canonical request, hex: a credential buys this request and no other. */
  requestDigest: string;
  /** What is sold, for the challenge: an absolute URL and one sentence. */
  resource: { url: string; description: string };
  expiresAt: Date;
  /** How long the paid work may take; an authorization must stay valid beyond it. */
  runTimeoutMs: number;
};
