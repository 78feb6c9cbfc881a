import { z } from 'zod';
import { addMs } from '../../../core/clock.ts';
import { millicents } from '../../../core/money.ts';
import type { SptForm } from '../../form.ts';
import type { Quote } from '../../quote.ts';
import type { Authorization, Verification } from '../../rail.ts';
import { SPT_VERSION } from './client.ts';
import {
  HOLD_MS,
  MILLICENTS_PER_CENT,
  type StripeRailDeps,
  TOKEN_MARGIN_MS,
  toCentsRoundedUp,
} from './context.ts';
import { claimKeyOf, payerOf, UNIT } from './identity.ts';
import { findPayment, judgePayment, retrievePayment } from './payment-intent.ts';
import { isMissing, TOKEN_UNUSABLE } from './refusal.ts';

/** The part of a SharedPaymentGrantedToken that we read (API reference, Shared Payment Granted Token). */
const grantedTokenSchema = z.object({
  id: z.string(),
  created: z.int(),
  deactivated_at: z.int().nullish(),
  deactivated_reason: z.string().nullish(),
  seller_details: z
    .object({ network_id: z.string().nullish(), network_business_profile: z.string().nullish() })
    .nullish(),
  usage_limits: z
    .object({ currency: z.string(), max_amount: z.int(), expires_at: z.int().nullish() })
    .nullish(),
});
type GrantedToken = z.infer<typeof grantedTokenSchema>;

/** Looks at the granted token; makes no payment. Stripe shows us tokens that were granted to us and no others. */
export async function verifySpt(
  deps: StripeRailDeps,
  input: { form: SptForm; quote: Quote },
  signal: AbortSignal,
): Promise<Verification> {
  const { form, quote } = input;
  try {
    const path = `/v1/shared_payment/granted_tokens/${encodeURIComponent(form.token)}`;
    const answer: unknown = await deps.client.call(signal, (stripe) =>
      stripe.rawRequest('GET', path, undefined, { apiVersion: SPT_VERSION }),
    );
    const token = grantedTokenSchema.parse(answer);
    const authorization = authorize(deps, form, quote);
    if (token.deactivated_at != null) return await explainSpent(deps, token, authorization, signal);
    const reason = refuse(deps, token, authorization.units);
    return reason === undefined ? { kind: 'authorised', authorization } : { kind: 'refused', reason };
  } catch (cause) {
    if (isMissing(cause)) {
      return { kind: 'refused', reason: 'Stripe knows no such shared payment token granted to this seller.' };
    }
    return { kind: 'unavailable', cause };
  }
}

function authorize(deps: StripeRailDeps, form: SptForm, quote: Quote): Authorization {
  return {
    rail: 'stripe',
    claimKey: claimKeyOf(form),
    payer: payerOf(form),
    unit: UNIT,
    units: toCentsRoundedUp(quote.amount),
    amount: quote.amount,
    form,
    // Until `hold` the payer can still revoke the token or use up the card.
    state: 'authorised',
    fundsAvailable: undefined,
    mustSettleFirst: false,
    validUntil: addMs(deps.clock.now(), HOLD_MS),
  };
}

function refuse(deps: StripeRailDeps, token: GrantedToken, units: bigint): string | undefined {
  const limits = token.usage_limits;
  const seller = token.seller_details?.network_business_profile ?? token.seller_details?.network_id;
  if (seller != null && seller !== deps.networkId) return 'The payment token is granted to another seller.';
  if (!limits) return TOKEN_UNUSABLE;
  if (limits.currency.toLowerCase() !== 'usd') return 'The payment token is for another currency.';
  if (BigInt(limits.max_amount) < units) return 'The payment token allows less than this costs.';
  const usableUntil = deps.clock.now().getTime() + TOKEN_MARGIN_MS;
  if (limits.expires_at != null && limits.expires_at * 1_000 < usableUntil) {
    return 'The payment token expires too soon.';
  }
  return undefined;
}

/** A token that is over: spent here before its request came, or of no use to anybody. */
async function explainSpent(
  deps: StripeRailDeps,
  token: GrantedToken,
  authorization: Authorization,
  signal: AbortSignal,
): Promise<Verification> {
  const { claimKey } = authorization;
  const since = new Date(token.created * 1_000);
  const found = await findPayment(deps, { claimKey, since }, signal);
  if (found.payment) {
    const payment = await retrievePayment(deps, found.payment.id, signal);
    // It paid what it paid, whatever is asked for now.
    const units = BigInt(payment.amount);
    const amount = millicents(units * MILLICENTS_PER_CENT);
    const settlement = judgePayment(deps, { claimKey, units }, payment);
    if (settlement.kind === 'settled') {
      return { kind: 'spent', authorization: { ...authorization, units, amount, state: 'paid' }, settlement };
    }
    if (payment.status === 'requires_capture') {
      return { kind: 'unavailable', cause: new Error(`payment ${payment.id} is held for another request`) };
    }
  } else if (!found.isSure && token.deactivated_reason === 'consumed') {
    return { kind: 'unavailable', cause: new Error('cannot tell what a consumed token paid for') };
  }
  return { kind: 'refused', reason: 'The payment token was used, revoked or has expired.' };
}
