import { expect, test } from 'vitest';
import { z } from 'zod';
import { ConfigError } from '../../../../src/config/config-error.ts';
import { readStripe, stripeEnvironment } from '../../../../src/config/stripe.ts';

const schema = z.object({ ...stripeEnvironment, NODE_ENV: z.string().default('test') });
const read = (environment: Record<string, string>) => readStripe(schema.parse(environment));

test('nothing set is no rail', () => {
  expect(read({})).toBeUndefined();
});

test('a secret key alone is a whole rail for Checkout', () => {
  expect(read({ STRIPE_SECRET_KEY: 'sk_test_1' })).toEqual({
    ...{ secretKey: 'sk_test_1', networkId: undefined, apiBase: undefined, webhookSecrets: [] },
    ...{ amountMin: 50_000n, paymentMethodTypes: ['card', 'link'] },
  });
});

test('several webhook secrets and methods are lists', () => {
  const environment = {
    STRIPE_SECRET_KEY: 'rk_live_1',
    STRIPE_NETWORK_ID: 'profile_1',
    STRIPE_WEBHOOK_SECRETS: 'whsec_new, whsec_old',
    STRIPE_PAYMENT_METHOD_TYPES: 'card, us_bank_account',
  };
  expect(read(environment)).toMatchObject({
    webhookSecrets: ['whsec_new', 'whsec_old'],
    paymentMethodTypes: ['card', 'us_bank_account'],
  });
});

test.each(['STRIPE_NETWORK_ID', 'STRIPE_WEBHOOK_SECRETS', 'STRIPE_API_BASE'])(
  'half a rail (%s without the key) names what is missing',
  (name) => {
    const value = { STRIPE_NETWORK_ID: 'profile_1', STRIPE_WEBHOOK_SECRETS: 'whsec_1' }[name];
    expect(() => read({ [name]: value ?? 'http://127.0.0.1:1' })).toThrow(/STRIPE_SECRET_KEY/);
  },
);

test('another server than Stripe is for development and test keys', () => {
  const environment = { STRIPE_SECRET_KEY: 'sk_test_1', STRIPE_API_BASE: 'http://127.0.0.1:1/' };
  expect(read(environment)).toMatchObject({ apiBase: 'http://127.0.0.1:1' });
  expect(() => read({ ...environment, NODE_ENV: 'production' })).toThrow(ConfigError);
  expect(() => read({ ...environment, STRIPE_SECRET_KEY: 'sk_live_1' })).toThrow(ConfigError);
});

test('a minimum below Stripe’s own is refused', () => {
  expect(() => read({ STRIPE_SECRET_KEY: 'sk_test_1', STRIPE_MIN_MCENTS: '49999' })).toThrow(/50000/);
});
