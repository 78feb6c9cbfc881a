export { createStripeCheckout } from './checkout-session.ts';
export { createStripeClient, type StripeClient, type StripeClientDeps } from './client.ts';
export type { StripeRailDeps } from './context.ts';
export { createStripeRail } from './stripe-rail.ts';
export { createStripeWebhook } from './webhook.ts';
