import { z } from 'zod';
import type { Millicents } from '../core/money.ts';
import { ConfigError } from './config-error.ts';
import { mcents, url } from './fields.ts';

/** Stripe charges no card less than $0.50. */
const MIN_MCENTS = 50_000;

const list = (text: string): string[] => text.split(',').flatMap((part) => part.trim() || []);

export const stripeEnvironment = {
  STRIPE_SECRET_KEY: z
    .string()
    .regex(/^[sr]k_(?:test|live)_[A-Za-z0-9_]+$/, 'must be a secret or restricted key of Stripe')
    .optional(),
  STRIPE_NETWORK_ID: z
    .string()
    .regex(/^[A-Za-z0-9_]{1,250}$/, 'must be a Stripe profile, profile_...')
    .optional(),
  STRIPE_WEBHOOK_SECRETS: z
    .string()
    .transform(list)
    .refine((secrets) => secrets.every((secret) => secret.startsWith('whsec_')), 'must start with whsec_')
    .optional(),
  STRIPE_API_BASE: url.optional(),
  STRIPE_MIN_MCENTS: mcents(MIN_MCENTS).refine((min) => min >= MIN_MCENTS, `must be at least ${MIN_MCENTS}`),
  STRIPE_PAYMENT_METHOD_TYPES: z
    .string()
    .regex(/^[a-z_]+(?:\s*,\s*[a-z_]+)*$/, 'must be names of payment methods, separated by commas')
    .default('card,link')
    .transform(list),
};

const environmentSchema = z.object(stripeEnvironment);
type StripeEnvironment = z.infer<typeof environmentSchema>;

export type StripeConfig = {
  secretKey: string;
  /** Undefined: only Checkout is there, as no payer can grant us a token. */
  networkId: string | undefined;
  /** Empty: no webhook is served, and settlements are found by asking. */
  webhookSecrets: readonly string[];
  /** Undefined: Stripe itself. */
  apiBase: string | undefined;
  amountMin: Millicents;
  paymentMethodTypes: readonly string[];
};

/** Undefined when nothing is set; half a rail is a `ConfigError` that names what is missing. */
export function readStripe(env: StripeEnvironment & { NODE_ENV: string }): StripeConfig | undefined {
  const {
    STRIPE_SECRET_KEY: secretKey,
    STRIPE_NETWORK_ID: networkId,
    STRIPE_WEBHOOK_SECRETS: webhookSecrets = [],
    STRIPE_API_BASE: apiBase,
  } = env;
  if (secretKey === undefined) {
    if (networkId === undefined && webhookSecrets.length === 0 && apiBase === undefined) return undefined;
    throw new ConfigError('The stripe rail is half configured: STRIPE_SECRET_KEY must be set too');
  }
  if (apiBase !== undefined && (env.NODE_ENV === 'production' || secretKey.includes('_live_'))) {
    throw new ConfigError(
      'STRIPE_API_BASE is for development: with production or a live key it must be unset',
    );
  }
  return {
    ...{ secretKey, networkId, webhookSecrets, apiBase },
    amountMin: env.STRIPE_MIN_MCENTS,
    paymentMethodTypes: env.STRIPE_PAYMENT_METHOD_TYPES,
  };
}
