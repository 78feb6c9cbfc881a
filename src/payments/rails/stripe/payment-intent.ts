import { z } from 'zod';
import { toUnixSeconds } from '../../../core/clock.ts';
import { millicents } from '../../../core/money.ts';
import type { SptForm } from '../../form.ts';
import type { Settled, Settlement, SettlementCost, SettlementIntent } from '../../rail.ts';
import { SPT_VERSION } from './client.ts';
import {
  CREATE_MS_MAX,
  HOLD_MS,
  MILLICENTS_PER_CENT,
  SEARCH_SURE_MS,
  type StripeRailDeps,
} from './context.ts';
import { ACCOUNT, CLAIM_METADATA, EXPENSE, idempotencyKeyOf, UNIT } from './identity.ts';
import { CANCELED, DECLINED } from './refusal.ts';

const transactionSchema = z.object({ id: z.string(), fee: z.int(), currency: z.string() });
const chargeSchema = z.object({
  id: z.string(),
  balance_transaction: z.union([z.string(), transactionSchema]).nullish(),
});

/** The part of a PaymentIntent that we read (API reference, The PaymentIntent object). */
export const paymentIntentSchema = z.object({
  id: z.string(),
  status: z.string(),
  amount: z.int(),
  amount_received: z.int().default(0),
  currency: z.string(),
  created: z.int(),
  metadata: z.record(z.string(), z.string()).nullish(),
  latest_charge: z.union([z.string(), chargeSchema]).nullish(),
});
export type PaymentIntent = z.infer<typeof paymentIntentSchema>;

/** No `Response`: who serves HTTP puts a class of its own in the place of the global one, and this is none of it. */
const replySchema = z.looseObject({ lastResponse: z.looseObject({ headers: z.instanceof(Headers) }) });
const FEE = ['latest_charge.balance_transaction'];

/** When a payment was authorised by us: its hold is counted from there. */
export function authorisedAt(intent: Pick<SettlementIntent, 'validUntil'>): Date {
  return new Date(intent.validUntil.getTime() - HOLD_MS);
}

/** Whether a creation with the claim's idempotency key still is the one it always was. */
export function isCreatable(deps: StripeRailDeps, intent: SettlementIntent): boolean {
  return deps.clock.now().getTime() - authorisedAt(intent).getTime() < CREATE_MS_MAX;
}

/**
 * Makes the payment, authorised and not captured, or learns of the one an earlier call made: the key is the
 * claim's. `isReplay` says that its state is the one of then.
 */
export async function createPayment(
  deps: StripeRailDeps,
  input: { intent: SettlementIntent; form: SptForm },
  signal: AbortSignal,
): Promise<{ payment: PaymentIntent; isReplay: boolean }> {
  const { intent, form } = input;
  const params = {
    amount: Number(intent.units),
    currency: 'usd',
    confirm: true,
    capture_method: 'manual',
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    shared_payment_granted_token: form.token,
    // The same every time: one key with other parameters is an error.
    metadata: {
      [CLAIM_METADATA]: intent.claimKey,
      ...(form.externalId === '' ? {} : { external_id: form.externalId }),
    },
  };
  const options = { apiVersion: SPT_VERSION, idempotencyKey: idempotencyKeyOf('create', intent.claimKey) };
  // The SDK's types know no shared payment tokens yet.
  const answer: unknown = await deps.client.call(signal, (stripe) =>
    stripe.rawRequest('POST', '/v1/payment_intents', params, options),
  );
  const { headers } = replySchema.parse(answer).lastResponse;
  const isReplay = headers.get('idempotent-replayed') === 'true';
  return { payment: paymentIntentSchema.parse(answer), isReplay };
}

export async function retrievePayment(
  deps: StripeRailDeps,
  id: string,
  signal: AbortSignal,
): Promise<PaymentIntent> {
  const payment = await deps.client.call(signal, (stripe) =>
    stripe.paymentIntents.retrieve(id, { expand: FEE }),
  );
  return paymentIntentSchema.parse(payment);
}

export async function capturePayment(
  deps: StripeRailDeps,
  input: { id: string; claimKey: string },
  signal: AbortSignal,
): Promise<PaymentIntent> {
  // Stripe replays an error as well, for a day. What was captured cannot be captured again, so a key for each
  // hour is as safe as one for ever and outlives a bad hour.
  const hour = Math.floor(deps.clock.now().getTime() / 3_600_000);
  const idempotencyKey = idempotencyKeyOf('capture', `${input.claimKey}/${hour}`);
  const payment = await deps.client.call(signal, (stripe) =>
    stripe.paymentIntents.capture(input.id, { expand: FEE }, { idempotencyKey }),
  );
  return paymentIntentSchema.parse(payment);
}

export async function cancelPayment(
  deps: StripeRailDeps,
  input: { id: string; claimKey: string },
  signal: AbortSignal,
): Promise<PaymentIntent> {
  const hour = Math.floor(deps.clock.now().getTime() / 3_600_000);
  const idempotencyKey = idempotencyKeyOf('cancel', `${input.claimKey}/${hour}`);
  const payment = await deps.client.call(signal, (stripe) =>
    stripe.paymentIntents.cancel(input.id, {}, { idempotencyKey }),
  );
  return paymentIntentSchema.parse(payment);
}

const PAGES_MAX = 5;
const PAGE_ROWS = 100;
const LIST_SECONDS = 3_600;
/** Their clock and ours. */
const SKEW_SECONDS = 120;

/**
 * The payment of a claim, by its metadata, without making one. Search is quick and runs behind; the list is
 * exact and bounded. `isSure`: what was not found is not there.
 */
export async function findPayment(
  deps: StripeRailDeps,
  input: { claimKey: string; since: Date },
  signal: AbortSignal,
): Promise<{ payment: PaymentIntent | undefined; isSure: boolean }> {
  const ageMs = deps.clock.now().getTime() - input.since.getTime();
  const query = `metadata['${CLAIM_METADATA}']:'${input.claimKey}'`;
  const hits = await deps.client.call(signal, (stripe) => stripe.paymentIntents.search({ query, limit: 1 }));
  const [hit] = hits.data;
  if (hit) return { payment: paymentIntentSchema.parse(hit), isSure: true };
  if (ageMs > SEARCH_SURE_MS) return { payment: undefined, isSure: true };
  return listPayments(deps, { ...input, isRecent: ageMs < LIST_SECONDS * 1_000 }, signal);
}

async function listPayments(
  deps: StripeRailDeps,
  input: { claimKey: string; since: Date; isRecent: boolean },
  signal: AbortSignal,
): Promise<{ payment: PaymentIntent | undefined; isSure: boolean }> {
  const since = toUnixSeconds(input.since);
  const created = { gte: since - SKEW_SECONDS, lte: since + LIST_SECONDS + SKEW_SECONDS };
  let last: string | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const params = { created, limit: PAGE_ROWS, ...(last === undefined ? {} : { starting_after: last }) };
    const rows = await deps.client.call(signal, (stripe) => stripe.paymentIntents.list(params));
    const payments = rows.data.map((row) => paymentIntentSchema.parse(row));
    const payment = payments.find(({ metadata }) => metadata?.[CLAIM_METADATA] === input.claimKey);
    if (payment) return { payment, isSure: true };
    last = payments.at(-1)?.id;
    // A payment made hours after its authorisation lies beyond the list.
    if (!rows.has_more || last === undefined) return { payment, isSure: input.isRecent };
  }
  return { payment: undefined, isSure: false };
}

/** What a payment's state says about our money; a capture that is still to come is `unknown`. */
export function judgePayment(
  deps: StripeRailDeps,
  intent: Pick<SettlementIntent, 'claimKey' | 'units'>,
  payment: PaymentIntent,
): Settlement {
  switch (payment.status) {
    case 'succeeded':
      return toSettled(deps, intent, payment);
    case 'canceled':
      return { kind: 'refused', reason: CANCELED };
    case 'requires_payment_method':
      return { kind: 'refused', reason: DECLINED };
    default:
      return { kind: 'unknown', cause: new Error(`payment ${payment.id} is ${payment.status}`) };
  }
}

function toSettled(
  deps: StripeRailDeps,
  intent: Pick<SettlementIntent, 'claimKey' | 'units'>,
  payment: PaymentIntent,
): Settlement {
  const units = BigInt(payment.amount_received);
  if (payment.currency !== 'usd' || units < intent.units) {
    const { id, amount_received, currency } = payment;
    deps.log.error(
      { claimKey: intent.claimKey, id, amount_received, currency },
      'Stripe captured another sum',
    );
    return { kind: 'unknown', cause: new Error(`payment ${id} captured ${amount_received} ${currency}`) };
  }
  return {
    kind: 'settled',
    reference: payment.id,
    units,
    worth: millicents(intent.units * MILLICENTS_PER_CENT),
    // A dispute is a loss of its own and comes much later.
    isFinal: true,
    costs: costsOf(deps, payment),
  } satisfies Settled;
}

/** Stripe's fee, where the charge already has its balance transaction. */
function costsOf(deps: StripeRailDeps, payment: PaymentIntent): SettlementCost[] {
  const charge = payment.latest_charge;
  const transaction = typeof charge === 'object' ? charge?.balance_transaction : undefined;
  if (!transaction || typeof transaction === 'string' || transaction.currency !== 'usd') {
    deps.log.warn({ id: payment.id }, 'the fee of a payment is not known, so it is not booked');
    return [];
  }
  return [{ account: ACCOUNT, expense: EXPENSE, unit: UNIT, units: BigInt(transaction.fee) }];
}
