import { addMs } from '../../../core/clock.ts';
import type { Invoice } from '../../invoice/invoice.ts';
import type { Authorization, Settled } from '../../rail.ts';
import { toMillicentsRoundedDown } from './rate/index.ts';

/** The ledger unit that Lightning money arrives in. */
export const MSAT = 'msat';

/** A payment that left its payer before the invoice expired has found its end by then, one way or the other. */
export const ARRIVAL_GRACE_MS = 10 * 60 * 1000;

/** Names one payment. */
export function claimKeyOf(paymentHash: string): string {
  return `lightning:${paymentHash}`;
}

/** Nobody knows who pays by Lightning: the payment is its own payer. */
export function payerOf(paymentHash: string): string {
  return `lightning:${paymentHash}`;
}

/** What the node says of an invoice of ours, as the gateway understands it. */
export function toAuthorization(
  invoice: Invoice,
  facts: { state: 'held' | 'paid'; preimage: string; now: Date },
): Authorization {
  const { paymentHash, expiresAt } = invoice;
  const { state, preimage, now } = facts;
  return {
    rail: 'lightning',
    claimKey: claimKeyOf(paymentHash),
    payer: payerOf(paymentHash),
    unit: MSAT,
    units: invoice.msat,
    amount: invoice.price,
    form: { kind: 'preimage', paymentHash, preimage },
    state,
    fundsAvailable: undefined,
    // What has arrived for good is booked first: a tool that fails then leaves credit.
    mustSettleFirst: state === 'paid',
    validUntil: addMs(expiresAt > now ? expiresAt : now, ARRIVAL_GRACE_MS),
  };
}

/** A settlement as the node confirmed it. Worth is at the middle rate: what the spread brought is ours. */
export function toSettled(
  paymentHash: string,
  receivedMsat: bigint,
  terms: { units: bigint; invoice: Invoice | undefined },
): Settled {
  const { units, invoice } = terms;
  return {
    kind: 'settled',
    reference: paymentHash,
    units: receivedMsat,
    ...(invoice ? { worth: toMillicentsRoundedDown(units, invoice.rate.millicentsPerBtc) } : {}),
    isFinal: true,
    costs: [],
  };
}
