import {
  Bolt11Invoice,
  Currency,
  Event_PaymentFailed,
  Event_PaymentSent,
  Option_PaymentFailureReasonZ_Some,
  Option_ThirtyTwoBytesZ_Some,
  Option_u64Z_Some,
  PaymentFailureReason,
  type RecipientOnionFields,
  Result_Bolt11InvoiceParseOrSemanticErrorZ_OK,
  Result_C3Tuple_ThirtyTwoBytesRecipientOnionFieldsRouteParametersZNoneZ_OK,
  Result_NoneRetryableSendFailureZ_Err,
  Retry,
  RetryableSendFailure,
  type RouteParameters,
  UtilMethods,
} from 'lightningdevkit';
import type { Clock } from '../../../../core/clock.ts';
import { timeLimit } from '../../../../core/time-limit.ts';
import type { PayInput, PaymentStanding } from '../provider.ts';
import { toPaymentStanding } from './book.ts';
import { countUsable } from './channels.ts';
import { optionalU64, toHex, unwrap } from './ldk.ts';
import type { LightningNode } from './node.ts';
import { Refusal } from './refusal.ts';
import { waitForCommit } from './wait.ts';

/** The paying half of a node: each payment hash is paid once. */
export type Payer = {
  pay(input: PayInput, signal: AbortSignal): Promise<PaymentStanding>;
  track(paymentHash: string): PaymentStanding | { kind: 'missing' };
};

/** A peer that restarts is back sooner; without it LDK finds no route and gives up at once. */
const PEER_WAIT_MAX_MS = 10_000;
const ATTEMPTS = 3;

export function createPayer(deps: { node: LightningNode; clock: Clock }): Payer {
  const { node, clock } = deps;
  const { book } = node;
  watchPayments(node);
  return {
    pay: async (input, signal) => {
      const plan = readInvoice(input);
      const { paymentHash, amountMsat } = plan;
      const timeout = timeLimit(signal, input.timeoutMs);
      const earlier = book.payment(paymentHash);
      if (earlier === undefined || earlier.state === 'failed') {
        if (plan.expiresAtMs <= clock.now().getTime()) throw new Refusal('the invoice has expired');
        await waitForPeer(node, timeLimit(timeout, PEER_WAIT_MAX_MS));
        // Another caller may have begun while we waited; from here to the record nothing comes between.
        const state = book.payment(paymentHash)?.state;
        if (state === undefined || state === 'failed') {
          const startedAt = clock.now().getTime();
          const reason = send(node, plan);
          const outcome =
            reason === undefined ? { state: 'pending' as const } : { state: 'failed' as const, reason };
          book.putPayment({ paymentHash, amountMsat, startedAt, ...outcome });
          await node.commit();
        }
      }
      const finish = () => {
        const record = book.payment(paymentHash);
        return record === undefined || record.state === 'pending' ? undefined : toPaymentStanding(record);
      };
      return waitForCommit(node, finish, timeout).catch((): PaymentStanding => ({ kind: 'pending' }));
    },
    track: (paymentHash) => {
      const record = book.payment(paymentHash);
      return record === undefined ? { kind: 'missing' } : toPaymentStanding(record);
    },
  };
}

type Plan = {
  paymentHash: string;
  hash: Uint8Array;
  amountMsat: bigint;
  expiresAtMs: number;
  onion: RecipientOnionFields;
  route: RouteParameters;
};

function readInvoice(input: PayInput): Plan {
  const parsed = Bolt11Invoice.constructor_from_str(input.invoice);
  if (!(parsed instanceof Result_Bolt11InvoiceParseOrSemanticErrorZ_OK)) {
    throw new Refusal('that is no invoice of BOLT 11');
  }
  const invoice = parsed.res;
  if (invoice.currency() !== Currency.LDKCurrency_Regtest)
    throw new Refusal('the invoice is not for regtest');
  const own = invoice.amount_milli_satoshis();
  const ownMsat = own instanceof Option_u64Z_Some ? own.some : undefined;
  const amountMsat = ownMsat ?? input.amountMsat;
  if (amountMsat === undefined) throw new Refusal('the invoice names no amount: say how much to pay');
  if (input.amountMsat !== undefined && input.amountMsat !== amountMsat) {
    throw new Refusal('the invoice names another amount');
  }
  const result =
    ownMsat === undefined
      ? UtilMethods.constructor_payment_parameters_from_variable_amount_invoice(invoice, amountMsat)
      : UtilMethods.constructor_payment_parameters_from_invoice(invoice);
  const parameters = unwrap(
    result,
    Result_C3Tuple_ThirtyTwoBytesRecipientOnionFieldsRouteParametersZNoneZ_OK,
    'the way of a payment',
  );
  const route = parameters.get_c();
  route.set_max_total_routing_fee_msat(optionalU64(input.feeMaxMsat));
  return {
    paymentHash: toHex(parameters.get_a()),
    hash: parameters.get_a(),
    amountMsat,
    expiresAtMs: Number(invoice.duration_since_epoch() + invoice.expiry_time()) * 1000,
    onion: parameters.get_b(),
    route,
  };
}

/** Hands the payment to LDK; why it refused, when it did. */
function send(node: LightningNode, plan: Plan): string | undefined {
  const { hash, onion, route } = plan;
  const retry = Retry.constructor_attempts(ATTEMPTS);
  // The payment's id is its hash, so LDK itself refuses a second one while the first is under way.
  const result = node.parts.manager.send_payment(hash, onion, hash, route, retry);
  if (!(result instanceof Result_NoneRetryableSendFailureZ_Err)) return undefined;
  return toWords(RetryableSendFailure[result.err] ?? 'refused');
}

function watchPayments(node: LightningNode): void {
  const { book } = node;
  node.onEvent((event) => {
    if (event instanceof Event_PaymentSent) {
      const record = book.payment(toHex(event.payment_hash));
      if (record === undefined || record.state === 'succeeded') return;
      const feeMsat = event.fee_paid_msat instanceof Option_u64Z_Some ? event.fee_paid_msat.some : 0n;
      book.putPayment({ ...record, state: 'succeeded', preimage: toHex(event.payment_preimage), feeMsat });
    }
    if (event instanceof Event_PaymentFailed) {
      const hash = event.payment_hash;
      const record = hash instanceof Option_ThirtyTwoBytesZ_Some ? book.payment(toHex(hash.some)) : undefined;
      if (record === undefined || record.state !== 'pending') return;
      const reason =
        event.reason instanceof Option_PaymentFailureReasonZ_Some ? event.reason.some : undefined;
      const words = reason === undefined ? 'the payment failed' : toWords(PaymentFailureReason[reason] ?? '');
      book.putPayment({ ...record, state: 'failed', reason: words });
    }
  });
}

async function waitForPeer(node: LightningNode, signal: AbortSignal): Promise<void> {
  await waitForCommit(node, () => countUsable(node) > 0 || undefined, signal).catch(() => {
    throw new Refusal('the peer of every channel is away');
  });
}

/** `LDKPaymentFailureReason_RecipientRejected` as `recipient rejected`. */
function toWords(name: string): string {
  const last = name.slice(name.lastIndexOf('_') + 1);
  return last.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter}`).toLowerCase();
}
