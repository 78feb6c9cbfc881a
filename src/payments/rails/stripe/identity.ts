import { sha256Hex } from '../../../core/bytes.ts';
import type { CheckoutForm, SptForm } from '../../form.ts';

/** The ledger unit of everything Stripe holds for us. */
export const UNIT = 'usd-cent';
export const ACCOUNT = `A.stripe:${UNIT}`;
export const EXPENSE = 'E.stripe';

/** The key of the metadata by which a payment at Stripe names its claim. */
export const CLAIM_METADATA = 'millicent_claim';

/** Names one payment: a shared payment token and a Checkout session each pay once. */
export function claimKeyOf(form: SptForm | CheckoutForm): string {
  return `stripe:${form.kind === 'spt' ? form.token : form.session}`;
}

/** Stripe does not say who is behind a token before it is used, so each is a payer of its own; receipts show it. */
export function payerOf(form: SptForm | CheckoutForm): string {
  return `stripe:${sha256Hex('stripe-payer', claimKeyOf(form)).slice(0, 32)}`;
}

/** One key for each step of a claim: what is sent twice is done once, by whichever gateway (Idempotent requests). */
export function idempotencyKeyOf(step: 'create' | 'capture' | 'cancel' | 'checkout', name: string): string {
  return `millicent_${step}_${sha256Hex('stripe-step', step, name).slice(0, 40)}`;
}
