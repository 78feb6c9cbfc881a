import type { Spend } from './spending.ts';

/** Which limit a payment would have broken. */
export type LimitName = 'per-call' | 'per-hour' | 'total';

/** A payment that the limits do not allow. Nothing was signed, and nothing was spent. */
export class SpendingLimitError extends Error {
  override name = 'SpendingLimitError';
  readonly limit: LimitName;
  /** What the payment would have taken, and what the limit still leaves, in `unit`. */
  readonly amount: bigint;
  readonly available: bigint;
  readonly unit: 'mcents' | 'sat';

  constructor(refusal: { limit: LimitName; amount: bigint; available: bigint; unit: 'mcents' | 'sat' }) {
    const { limit, amount, available, unit } = refusal;
    super(`${amount} ${unit} is more than the ${limit} limit leaves: ${available} ${unit}`);
    this.limit = limit;
    this.amount = amount;
    this.available = available;
    this.unit = unit;
  }
}

export type RefusalReason = 'host' | 'redirect' | 'idempotency-key-reused' | 'too-many-redirects';

/** A request that is not sent, or not followed, by the caller's own rules. It spent nothing. */
export class RequestRefusedError extends Error {
  override name = 'RequestRefusedError';
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** What a wallet throws when the invoice was surely not paid and never will be. */
export class InvoiceNotPaidError extends Error {
  override name = 'InvoiceNotPaidError';
}

/** The payer could not sign, so nothing was sent to anybody and nothing was spent. */
export class PaymentFailedError extends Error {
  override name = 'PaymentFailedError';
}

/**
 * Money may have moved, and no answer came. Call again with `spend.idempotencyKey`: the same credential is
 * sent, and nothing is signed anew. Its amount counts against the limits until then.
 */
export class PaymentUnknownError extends Error {
  override name = 'PaymentUnknownError';
  readonly spend: Spend;

  constructor(message: string, spend: Spend, cause: unknown) {
    super(message, { cause });
    this.spend = spend;
  }
}
