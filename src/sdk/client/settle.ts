import type { Payment } from './logical-calls.ts';
import type { Verdict } from './outcome.ts';

/**
 * Books what became of a payment. Budget comes back only on the server's word that it kept nothing, and never
 * for money that has left by itself. What nobody knows stays taken.
 */
export function settle(payment: Payment, verdict: Exclude<Verdict, { kind: 'again' }>): void {
  const { spend } = payment;
  const hasLeft = payment.movesMoney && payment.header !== undefined;
  switch (verdict.kind) {
    case 'delivered': {
      const { receipts, chargedMcents } = verdict;
      spend.reference = receipts.reference ?? spend.reference;
      spend.receiptId = receipts.receiptId ?? spend.receiptId;
      spend.receipt = receipts.receipt ?? spend.receipt;
      const isFree = chargedMcents === 0n && receipts.reference === undefined;
      book(payment, isFree && !hasLeft ? 'returned' : 'spent');
      return;
    }
    case 'credited':
      book(payment, 'spent');
      return;
    case 'free':
      // What has left and bought nothing is credit or a refund: the answer says which.
      book(payment, hasLeft ? 'spent' : 'returned');
      return;
    case 'unclear':
      // An earlier try may have learned more.
      if (spend.state === 'pending') spend.state = 'unknown';
      return;
    default:
      throw verdict satisfies never;
  }
}

/** A later try may learn the opposite of an earlier one: the reservation follows. */
function book({ spend, reservation, amount }: Payment, state: 'spent' | 'returned'): void {
  reservation.settle(state === 'spent' ? amount : 0n);
  spend.state = state;
}
