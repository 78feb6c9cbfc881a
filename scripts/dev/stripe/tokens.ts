import { invalidRequest, noSuch } from './api-error.ts';
import { PAYMENT_METHODS } from './money.ts';
import type { GrantedToken } from './objects.ts';
import { newId, type World } from './world.ts';

export type GrantInput = {
  payment_method: string;
  currency: string;
  max_amount: number;
  expires_at: number | undefined;
  /** The seller's profile; ours when left out. */
  network: string | undefined;
  metadata: Record<string, string>;
};

/** POST /v1/test_helpers/shared_payment/granted_tokens: as if an agent had granted one. */
export function grantToken(world: World, input: GrantInput): GrantedToken {
  const { currency, max_amount, expires_at, payment_method } = input;
  const behaviour = PAYMENT_METHODS[payment_method];
  if (!behaviour) throw noSuch('PaymentMethod', payment_method, 'payment_method', 400);
  if (expires_at !== undefined && expires_at <= world.now()) {
    throw invalidRequest('expires_at must be in the future.', { param: 'usage_limits[expires_at]' });
  }
  const { brand, last4 } = behaviour.kind === 'succeeds' ? behaviour : { brand: 'visa', last4: '0002' };
  const token: GrantedToken = {
    id: newId('spt'),
    object: 'shared_payment.granted_token',
    agent_details: null,
    created: world.now(),
    deactivated_at: null,
    deactivated_reason: null,
    livemode: false,
    payment_method_details: { type: 'card', card: { brand, last4, funding: 'credit', country: 'US' } },
    shared_metadata: input.metadata,
    usage_details: { amount_captured: { currency, value: 0 } },
    usage_limits: { currency, expires_at: expires_at ?? null, max_amount },
  };
  const network = input.network ?? world.networkId;
  world.tokens.set(token.id, { token, payment_method, network, payment: undefined });
  return token;
}

/** GET /v1/shared_payment/granted_tokens/:id: a seller sees its own. */
export function getToken(world: World, id: string): GrantedToken {
  const grant = world.tokens.get(id);
  if (!grant || grant.network !== world.networkId) throw noSuch('shared payment granted token', id);
  const { token } = grant;
  const { expires_at } = token.usage_limits;
  if (token.deactivated_at === null && expires_at !== null && expires_at <= world.now()) {
    token.deactivated_at = expires_at;
    token.deactivated_reason = 'expired';
  }
  return token;
}

/** POST /v1/test_helpers/shared_payment/granted_tokens/:id/revoke. */
export function revokeToken(world: World, id: string): GrantedToken {
  const token = getToken(world, id);
  if (token.deactivated_at !== null) throw invalidRequest('This SharedPaymentGrantedToken is deactivated.');
  token.deactivated_at = world.now();
  token.deactivated_reason = 'revoked';
  world.emit('shared_payment.granted_token.deactivated', token);
  return token;
}
