import type { Charge, PaymentIntent, Transaction } from './objects.ts';
import { newId, type World } from './world.ts';

/** Where card payments end: what a test payment method does when it is charged. */
export type Behaviour =
  | { kind: 'succeeds'; brand: string; last4: string; isDisputed?: boolean }
  | { kind: 'declines'; code: string; declineCode: string; message: string }
  | { kind: 'needs-action' }
  /** A bank debit: it is on its way for days. */
  | { kind: 'takes-days' };

const decline = (declineCode: string, message: string, code = 'card_declined'): Behaviour => ({
  ...{ kind: 'declines', code, declineCode, message },
});

/** Test payment methods of Stripe's documentation (Testing). */
export const PAYMENT_METHODS: Record<string, Behaviour> = {
  pm_card_visa: { kind: 'succeeds', brand: 'visa', last4: '4242' },
  pm_card_mastercard: { kind: 'succeeds', brand: 'mastercard', last4: '4444' },
  pm_card_createDispute: { kind: 'succeeds', brand: 'visa', last4: '0259', isDisputed: true },
  pm_card_chargeDeclined: decline('generic_decline', 'Your card was declined.'),
  pm_card_visa_chargeDeclined: decline('generic_decline', 'Your card was declined.'),
  pm_card_chargeDeclinedInsufficientFunds: decline('insufficient_funds', 'Your card has insufficient funds.'),
  pm_card_visa_chargeDeclinedInsufficientFunds: decline(
    'insufficient_funds',
    'Your card has insufficient funds.',
  ),
  pm_card_chargeDeclinedExpiredCard: decline('expired_card', 'Your card has expired.', 'expired_card'),
  pm_card_threeDSecure2Required: { kind: 'needs-action' },
  pm_card_authenticationRequired: { kind: 'needs-action' },
  pm_usBankAccount: { kind: 'takes-days' },
};

/** Uncaptured authorisations end by themselves. */
const AUTHORISED_SECONDS = 7 * 24 * 60 * 60;
const AVAILABLE_SECONDS = 2 * 24 * 60 * 60;
const DISPUTE_FEE = 1_500;

/** Stripe's list price for cards: 2.9 % and 30 cents. */
export function feeOf(amount: number): number {
  return Math.round(amount * 0.029) + 30;
}

export function openCharge(world: World, payment: PaymentIntent, method: string): Charge {
  const behaviour = PAYMENT_METHODS[method];
  const isCard = behaviour?.kind === 'succeeds';
  const charge: Charge = {
    id: newId('ch'),
    object: 'charge',
    amount: payment.amount,
    amount_captured: 0,
    amount_refunded: 0,
    balance_transaction: null,
    captured: false,
    created: world.now(),
    currency: payment.currency,
    disputed: false,
    failure_code: null,
    failure_message: null,
    livemode: false,
    metadata: { ...payment.metadata },
    outcome: { network_status: 'approved_by_network', type: 'authorized' },
    paid: true,
    payment_intent: payment.id,
    payment_method: method,
    payment_method_details: {
      type: 'card',
      card: {
        brand: isCard ? behaviour.brand : 'visa',
        last4: isCard ? behaviour.last4 : '4242',
        funding: 'credit',
        country: 'US',
        capture_before: payment.capture_method === 'manual' ? world.now() + AUTHORISED_SECONDS : null,
      },
    },
    refunded: false,
    status: 'succeeded',
  };
  world.charges.set(charge.id, charge);
  payment.latest_charge = charge.id;
  return charge;
}

/** Takes an authorised charge's money: from here it is in the balance, less the fee. */
export function captureCharge(world: World, charge: Charge, amount: number): void {
  charge.captured = true;
  charge.amount_captured = amount;
  charge.amount_refunded = charge.amount - amount;
  charge.balance_transaction = addTransaction(world, {
    ...{ type: 'charge', amount, fee: feeOf(amount), source: charge.id, currency: charge.currency },
  }).id;
  world.emit('charge.captured', charge);
  const behaviour = PAYMENT_METHODS[charge.payment_method];
  if (behaviour?.kind === 'succeeds' && behaviour.isDisputed) disputeCharge(world, charge);
}

/** The cardholder takes the money back: the amount and a fee leave the balance at once. */
export function disputeCharge(world: World, charge: Charge): void {
  charge.disputed = true;
  const { id, amount_captured: amount, currency, payment_intent } = charge;
  addTransaction(world, {
    ...{ type: 'adjustment', amount: -amount, fee: DISPUTE_FEE, source: id, currency },
  });
  world.emit('charge.dispute.created', {
    id: newId('du'),
    object: 'dispute',
    ...{ amount, charge: id, currency, payment_intent, reason: 'fraudulent', status: 'needs_response' },
    created: world.now(),
    metadata: {},
  });
}

export function addTransaction(
  world: World,
  input: Pick<Transaction, 'type' | 'amount' | 'fee' | 'source' | 'currency'>,
): Transaction {
  const { fee, amount, currency } = input;
  const details = [
    { amount: fee, currency, description: 'Stripe processing fees', type: 'stripe_fee' as const },
  ];
  const transaction: Transaction = {
    id: newId('txn'),
    object: 'balance_transaction',
    ...input,
    available_on: world.now() + AVAILABLE_SECONDS,
    created: world.now(),
    description: null,
    exchange_rate: null,
    fee_details: fee === 0 ? [] : details,
    net: amount - fee,
    reporting_category: input.type,
    status: 'pending',
  };
  world.transactions.set(transaction.id, transaction);
  return transaction;
}
