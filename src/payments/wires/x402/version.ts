import type { Eip3009Offer } from '../../rail.ts';
import type { CredentialReading, PaymentReceiptInput } from '../../wire.ts';
import type { SignStatement } from './offer-receipt.ts';

/** How one version of the protocol spells challenge, credential and receipt. */
export type X402Version = {
  /** The request header that carries the credential. */
  readonly credentialHeader: string;
  /** All of a challenge but its quote; undefined when it can spell none of the offers. */
  prepare(terms: X402Terms): X402Template | undefined;
  /** Never throws. */
  read(header: string): CredentialReading;
  receipt(settled: X402Settled, sign: SignStatement | undefined): [name: string, value: string][];
};

/** What is asked: the same for everybody who wants the same. */
export type X402Terms = {
  /** At least one. */
  offers: readonly Eip3009Offer[];
  resource: { url: string; description: string };
  /** Why there is no answer yet. */
  error: string;
};

/** A challenge that waits for a quote. */
export type X402Template = {
  headers(quoteToken: string): [name: string, value: string][];
  /** Members of the 402's body; no quote is in it. */
  body: Record<string, unknown>;
};

/** What became of a payment. */
export type X402Settled = Pick<PaymentReceiptInput, 'form' | 'reference' | 'settledAt' | 'resourceUrl'>;
