import { invalidRequest, noSuch } from './api-error.ts';
import { addTransaction } from './money.ts';
import type { Refund } from './objects.ts';
import { getPayment } from './payments.ts';
import { newId, type World } from './world.ts';

export type RefundInput = {
  charge: string | undefined;
  payment_intent: string | undefined;
  amount: number | undefined;
  reason: string | undefined;
  metadata: Record<string, string>;
};

/** POST /v1/refunds: the fee is not given back. */
export function createRefund(world: World, input: RefundInput): Refund {
  const id = input.charge ?? getPayment(world, input.payment_intent ?? '', 'payment_intent').latest_charge;
  const charge = world.charges.get(id ?? '');
  if (!charge) throw noSuch('charge', id ?? '', 'charge');
  const left = charge.amount_captured - charge.amount_refunded;
  const amount = input.amount ?? left;
  if (!charge.captured || left === 0) {
    const message = `Charge ${charge.id} has already been refunded.`;
    throw invalidRequest(message, { code: 'charge_already_refunded' });
  }
  if (amount > left) {
    throw invalidRequest(`Refund amount is greater than unrefunded amount on charge.`, { param: 'amount' });
  }
  charge.amount_refunded += amount;
  charge.refunded = charge.amount_refunded === charge.amount_captured;
  const { currency, payment_intent } = charge;
  const transaction = addTransaction(world, {
    ...{ type: 'refund', amount: -amount, fee: 0, source: charge.id, currency },
  });
  const refund: Refund = {
    id: newId('re'),
    object: 'refund',
    ...{ amount, currency, payment_intent, metadata: input.metadata, charge: charge.id },
    balance_transaction: transaction.id,
    created: world.now(),
    reason: input.reason ?? null,
    status: 'succeeded',
  };
  world.refunds.set(refund.id, refund);
  world.emit('charge.refunded', charge);
  return refund;
}
