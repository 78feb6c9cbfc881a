import Stripe from 'stripe';

export const DECLINED = 'The card was declined.';
export const NEEDS_PERSON =
  'The card needs its owner to confirm the payment. Use another payment method or a Checkout session.';
export const CANCELED = 'The payment was cancelled before it was captured.';
export const NEVER_MADE = 'The payment was not made in time.';
export const TOKEN_UNUSABLE = 'Stripe does not accept this shared payment token for this payment.';

/** What a decline may be told as; Stripe's own words can say more than its owner wants told. */
const DECLINES: Record<string, string> = {
  insufficient_funds: 'The card has insufficient funds.',
  expired_card: 'The card has expired.',
  authentication_required: NEEDS_PERSON,
};

/**
 * Why Stripe will not make this payment, in public words; undefined where it only could not answer, and the
 * payment may have been made.
 */
export function readRefusal(error: unknown): { reason: string; isCard: boolean } | undefined {
  if (error instanceof Stripe.errors.StripeCardError) {
    const reason = DECLINES[error.decline_code ?? ''] ?? DECLINES[error.code ?? ''] ?? DECLINED;
    return { reason, isCard: true };
  }
  // The same key with other parameters says that something was made with the first ones.
  if (error instanceof Stripe.errors.StripeIdempotencyError) return undefined;
  if (error instanceof Stripe.errors.StripeInvalidRequestError) {
    return { reason: TOKEN_UNUSABLE, isCard: false };
  }
  return undefined;
}

/** Stripe knows no such thing, or not for us. */
export function isMissing(error: unknown): boolean {
  return error instanceof Stripe.errors.StripeInvalidRequestError && error.statusCode === 404;
}
