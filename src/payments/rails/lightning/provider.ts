import type { LightningNetwork } from '../../rail.ts';

/**
 * A Lightning node that receives for us. Every call is bounded by `signal` and by a timeout of its own, and
 * rejects when the node cannot be asked; a rejection says nothing about whether the node acted.
 */
export type LightningProvider = {
  readonly name: string;
  readonly network: LightningNetwork;
  readonly can: ProviderAbilities;
  /** Rejects when the node refuses; a `hold` hash serves one invoice for ever. */
  createInvoice(input: InvoiceInput, signal: AbortSignal): Promise<MintedInvoice>;
  /** How the invoice stands at the node itself, the only proof of payment. */
  lookup(paymentHash: string, signal: AbortSignal): Promise<InvoiceStanding>;
  /** Takes a held payment; safe to repeat. Rejects while nothing is held and when it was cancelled. */
  settle(input: { paymentHash: string; preimage: string }, signal: AbortSignal): Promise<void>;
  /**
   * Gives a held payment back, or closes an unpaid invoice; safe to repeat. Rejects when it was settled: a
   * provider without hold invoices may only be able to let it expire, and then does nothing.
   */
  cancel(paymentHash: string, signal: AbortSignal): Promise<void>;
  /** Called again with the same invoice it never pays twice. */
  pay(input: PayInput, signal: AbortSignal): Promise<PaymentStanding>;
  track(paymentHash: string, signal: AbortSignal): Promise<PaymentStanding | { kind: 'missing' }>;
  /**
   * Tells every change of an invoice after `cursor` (all that is known without one), in order, at least once,
   * until `signal` aborts; then it resolves. Changes of one invoice that follow each other quickly may be told as
   * the last of them. What `onChange` throws, it throws: subscribe again from the last
   * cursor that was handled.
   */
  subscribe(
    cursor: string | undefined,
    onChange: (change: InvoiceChange) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
  /** What the node owns in its channels. */
  balance(signal: AbortSignal): Promise<{ msat: bigint }>;
  /** True when an invoice minted now could be paid. */
  health(signal: AbortSignal): Promise<boolean>;
};

export type ProviderAbilities = {
  /** Hold invoices: an accepted payment waits for `settle` or `cancel`. */
  hold: boolean;
  /** Amounts that are no whole satoshis. */
  msat: boolean;
  payout: boolean;
  keysend: boolean;
};

export type InvoiceInput = {
  amountMsat: bigint;
  memo: string;
  expirySeconds: number;
  /** We made the preimage and give its hash; left out, the node makes it and takes the payment by itself. */
  hold?: { paymentHash: string };
};

/** `paymentHash` is lower-case hex, as everywhere in this port. */
export type MintedInvoice = { invoice: string; paymentHash: string; expiresAt: Date };

export type InvoiceStanding = {
  /** `held` waits for us and can still be given back; `missing`: the node never minted it. */
  state: 'open' | 'held' | 'settled' | 'cancelled' | 'expired' | 'missing';
  /** What is held or was taken; zero before. */
  receivedMsat: bigint;
  settledAt?: Date;
  /** When the node gives a held payment back by itself, so that no channel is force-closed over it. */
  holdDeadline?: Date;
};

export type InvoiceChange = { paymentHash: string; standing: InvoiceStanding; cursor: string };

export type PayInput = {
  invoice: string;
  /** For invoices that name none. */
  amountMsat?: bigint;
  feeMaxMsat: bigint;
  timeoutMs: number;
};

export type PaymentStanding =
  | { kind: 'succeeded'; preimage: string; feeMsat: bigint }
  /** Nothing left us, and by this payment nothing will. */
  | { kind: 'failed'; reason: string }
  /** It may have left: `track`, never pay again. */
  | { kind: 'pending' };
