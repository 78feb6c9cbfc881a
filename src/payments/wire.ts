import type { Form } from './form.ts';
import type { Quote } from './quote.ts';
import type { Offer } from './rail.ts';

/** How a challenge and a credential are spelled. */
export type WireName = 'x402' | 'mpp' | 'l402';

/** What a carrier (HTTP headers, MCP `_meta`) brings; names are matched without regard to case. */
export type Carried = { header(name: string): string | undefined };

/** What a client shows to pay, read but not yet checked. */
export type Credential = {
  wire: WireName;
  form: Form;
  /** The sealed quote the client echoes, where the wire has room for it. */
  quoteToken: string | undefined;
};

export type CredentialReading =
  | { kind: 'credential'; credential: Credential }
  /** It is this wire's, and broken; `reason` is public. */
  | { kind: 'malformed'; reason: string };

export type ChallengeInput = {
  quote: Quote;
  quoteToken: string;
  offers: Offer[];
  /** Why an earlier credential did not pay, in words for the client. */
  error: string | undefined;
};

/** A wire's part of a 402: headers, and members for the JSON body. */
export type Challenge = { headers: [name: string, value: string][]; body: Record<string, unknown> };

export type PaymentReceiptInput = {
  form: Form;
  payer: string;
  /** The settlement's reference on its rail. */
  reference: string;
};

/** Spells one payment protocol. It knows no rail's SDK and moves no money. */
export type Wire = {
  readonly name: WireName;
  /** This wire's part of a 402, or undefined when it can spell none of the offers. */
  challenge(input: ChallengeInput): Challenge | undefined;
  /** The credential a request carries; undefined when it carries none of this wire. Never throws. */
  read(carried: Carried): CredentialReading | undefined;
  /** The headers that tell the payer that the payment went through. */
  receipt(input: PaymentReceiptInput): [name: string, value: string][];
};
