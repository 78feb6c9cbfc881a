import type { Form } from './form.ts';
import type { Quote } from './quote.ts';
import type { Offer, RailName } from './rail.ts';

/** How a challenge and a credential are spelled. */
export type WireName = 'x402' | 'mpp' | 'l402';

/** What a carrier (HTTP headers, MCP `_meta`) brings; names are matched without regard to case. */
export type Carried = {
  /** Several lines of one name come joined by `, `. */
  header(name: string): string | undefined;
  /** The request's method, where the carrier has one: challenges name it in their scope. */
  method?: string | undefined;
  /** The caller's address, as far as the carrier knows it. */
  address?: string | undefined;
  /** The SHA-256 of the request's content, base64, as in RFC 9530; undefined when there is none. */
  bodyDigest?(): string | undefined;
};

/** What a client shows to pay, read but not yet checked. */
export type Credential = {
  wire: WireName;
  form: Form;
  /** The sealed quote the client echoes, where the wire has room for it. */
  quoteToken: string | undefined;
  /**
   * Why it cannot pay (any more): its challenge expired, or was another request's. Told only once no claim is
   * found under it, because what it already paid for is answered, and a used payment is no reason for another.
   */
  refusal?: Refusal;
};

export type CredentialReading =
  | { kind: 'credential'; credential: Credential }
  /** It is this wire's, and cannot be used; `reason` is public. */
  | { kind: 'malformed'; reason: string; code?: RefusalCode };

/** Why a credential did not pay, for wires that have a word for it. */
export type RefusalCode = 'malformed' | 'unknown-challenge' | 'expired' | 'verification-failed';

/** An earlier credential that did not pay: `detail` is public. */
export type Refusal = { detail: string; code?: RefusalCode | undefined; wire?: WireName | undefined };

export type ChallengeInput = {
  quote: Quote;
  quoteToken: string;
  offers: Offer[];
  carried: Carried;
  refusal: Refusal | undefined;
};

/** A wire's part of a 402: headers, and members for the JSON body. */
export type Challenge = {
  headers: [name: string, value: string][];
  body: Record<string, unknown>;
  /** What this wire's specification calls the refusal of a credential of its own: the problem's `type`. */
  problemType?: string;
};

/** What many callers ask alike, who show nothing and prefer nothing: all of a challenge but its quote. */
export type StandingInput = {
  offers: Offer[];
  resource: Quote['resource'];
  /** The request's. */
  method: string;
  expiresAt: Date;
};

/** A challenge that waits for its quote; it says what `challenge` says. */
export type StandingChallenge = {
  headers(quoteToken: string): [name: string, value: string][];
  /** No quote is in it. */
  body: Record<string, unknown>;
};

export type PaymentReceiptInput = {
  form: Form;
  payer: string;
  rail: RailName;
  /** The settlement's reference on its rail. */
  reference: string;
  settledAt: Date;
  /** What was paid for; claims from before this was kept do not say. */
  resourceUrl?: string | undefined;
  /** The request that is answered: a receipt is spelled for the credential it showed. */
  carried?: Carried | undefined;
};

/** Spells one payment protocol. It knows no rail's SDK and moves no money. */
export type Wire = {
  readonly name: WireName;
  /** This wire's part of a 402, or undefined when it can spell none of the offers. */
  challenge(input: ChallengeInput): Challenge | undefined;
  /** The same for callers who ask alike; what does not follow from the quote is spelled here, once. */
  prepare(input: StandingInput): StandingChallenge | undefined;
  /**
   * The credential a request carries; undefined when it carries none of this wire. Never throws. A wire that
   * signs its challenges, or binds them to a body, refuses here what it did not sign.
   */
  read(carried: Carried): CredentialReading | undefined;
  /** The rails a caller says it can pay by, where this wire has a word for that; undefined means any. */
  wants?(carried: Carried): ReadonlySet<RailName> | undefined;
  /** The headers that tell the payer that the payment went through. */
  receipt(input: PaymentReceiptInput): [name: string, value: string][];
};
