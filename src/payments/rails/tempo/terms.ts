import type { Hex } from 'viem';
import { addMs, toUnixSeconds } from '../../../core/clock.ts';
import { formatDollars, toTokenUnits } from '../../../core/money.ts';
import type { TempoForm } from '../../form.ts';
import type { Quote } from '../../quote.ts';
import type { TempoRailContext } from './context.ts';
import { isMemoOf } from './memo.ts';
import { decodeMemoTransfer } from './token.ts';
import type { SignedTransaction } from './transaction.ts';

/** How long beyond the run a transaction may stay valid: what outlives it is watched until then. */
const VALID_MS_MAX = 60 * 60 * 1000;
/** Nodes take nothing that expires within the next three seconds, and the way there takes some too. */
const SEND_MS_MIN = 5_000;

type Offered = { transaction: SignedTransaction; form: TempoForm; quote: Quote };

/** What no transaction and no hash can pay here, in words for the client. */
export function findWrongOffer(context: TempoRailContext, form: TempoForm, quote: Quote): string | undefined {
  if (form.network !== context.network)
    return `Payments on ${form.network} are not taken, ${context.network} is.`;
  if (quote.amount < context.amountMin)
    return `Payments of less than ${formatDollars(context.amountMin)} are not taken on ${context.network}.`;
  return undefined;
}

/** The first term of the transaction, its validity aside, that does not fit the quote. */
export function findWrongTerm(
  context: TempoRailContext,
  { transaction, form, quote }: Offered,
): string | undefined {
  const { terms, sender } = transaction;
  if (terms.chainId !== context.client.chainId) return 'The transaction is for another chain.';
  if (form.payer !== undefined && form.payer !== sender)
    return 'The transaction is not signed by the account that the credential names.';
  if (sender === context.recipient) return 'The payer and the payee are the same.';
  if (terms.feePayerSignature !== undefined)
    return 'Fees are not sponsored here: sign the transaction without a fee payer.';
  if (terms.authorizationList !== undefined && terms.authorizationList.length > 0)
    return 'The transaction must not carry authorizations for code.';
  const [call, ...others] = terms.calls;
  if (call === undefined || others.length > 0) return 'The transaction must make one call, the payment.';
  if (call.to?.toLowerCase() !== context.currency) return 'The transaction pays in another token.';
  if ((call.value ?? 0n) !== 0n) return 'The transaction must not send a native value.';
  return findWrongTransfer(context, call.data, { form, units: toTokenUnits(quote.amount) });
}

function findWrongTransfer(
  context: TempoRailContext,
  data: Hex | undefined,
  expected: { form: TempoForm; units: bigint },
): string | undefined {
  const { form, units } = expected;
  const transfer = data === undefined ? undefined : decodeMemoTransfer(data);
  if (transfer === undefined) return 'The transaction must call transferWithMemo and nothing else.';
  if (transfer.to !== context.recipient) return 'The transaction pays somebody else.';
  if (transfer.amount !== units)
    return `The transaction pays ${transfer.amount} token units, the price is ${units}.`;
  if (!isMemoOf(transfer.memo, form)) return 'The memo of the transfer is not bound to this challenge.';
  return undefined;
}

/** Whether the transaction is valid now and neither for too short nor for too long. */
export function findWrongValidity(
  context: TempoRailContext,
  { transaction, quote }: Pick<Offered, 'transaction' | 'quote'>,
): string | undefined {
  const { validAfter = 0, validBefore } = transaction.terms;
  const now = context.clock.now();
  if (validBefore === undefined) return 'The transaction never expires: sign it with a validBefore.';
  if (validAfter > toUnixSeconds(now)) return 'The transaction is not valid yet.';
  if (validBefore < toUnixSeconds(addMs(now, SEND_MS_MIN)))
    return 'The transaction expires too soon: sign another one.';
  if (validBefore > toUnixSeconds(addMs(now, quote.runTimeoutMs + VALID_MS_MAX)))
    return 'The transaction expires too late: sign one that is valid for at most an hour.';
  return undefined;
}

/** Whether it is still good after the run; stock clients sign for 25 seconds, and expiring nonces for 30. */
export function outlivesRun(context: TempoRailContext, { terms }: SignedTransaction, quote: Quote): boolean {
  const needed = addMs(context.clock.now(), quote.runTimeoutMs + context.settleMarginMs);
  return (terms.validBefore ?? 0) >= toUnixSeconds(needed);
}
