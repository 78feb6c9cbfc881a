import type { StripeConfig } from '../config/stripe.ts';
import type { Checkout, WebhookReader } from '../payments/index.ts';
import {
  createStripeCheckout,
  createStripeClient,
  createStripeRail,
  createStripeWebhook,
} from '../payments/rails/stripe/index.ts';
import type { RailParts, WiredRail } from './wired-rail.ts';

const CLIENT_TIMEOUTS = { requestMs: 10_000, retryMs: 100 };
const TIMEOUTS = { lookMs: 10_000, settleMs: 24_000 };

/** The stripe rail, the payment pages of its top-ups, and the reader of its webhooks where one is configured. */
export function wireStripe(
  config: StripeConfig,
  { clock, log }: RailParts,
): WiredRail & { checkout: Checkout; webhook: WebhookReader | undefined } {
  const { secretKey, apiBase, networkId, amountMin, paymentMethodTypes, webhookSecrets } = config;
  const client = createStripeClient({ secretKey, apiBase, clock, timeouts: CLIENT_TIMEOUTS });
  const deps = { client, networkId, amountMin, paymentMethodTypes, clock, log, timeouts: TIMEOUTS };
  return {
    rail: createStripeRail(deps),
    jobs: [],
    checkout: createStripeCheckout(deps),
    webhook: webhookSecrets.length > 0 ? createStripeWebhook({ secrets: webhookSecrets, clock }) : undefined,
  };
}
