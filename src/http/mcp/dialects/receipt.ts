import { toWireNumber } from '../../../core/money.ts';
import type { PaidCallAnswer } from '../../../gateway/index.ts';
import { decodeJson, isObject, type JsonObject } from './request.ts';

/**
 * What the `_meta` of a delivered call says of its payment, in every dialect: `headers` are those of
 * `paymentHeaders`, spelled for the request that is answered.
 */
export function receiptMeta(
  headers: readonly (readonly [name: string, value: string])[],
  answer: Pick<PaidCallAnswer, 'charged' | 'receiptId' | 'receipt' | 'balance' | 'freeCallsLeft'>,
): JsonObject {
  const meta: JsonObject = { 'millicent/charged-mcents': toWireNumber(answer.charged) };
  for (const [name, value] of headers) {
    const keys = KEYS[name.toLowerCase()];
    const receipt = keys && decodeJson(value);
    if (!keys || !isObject(receipt)) continue;
    for (const key of keys) meta[key] = receipt;
  }
  if (answer.receiptId !== undefined) meta['millicent/receipt-id'] = answer.receiptId;
  if (answer.receipt !== undefined) meta['millicent/receipt'] = answer.receipt;
  if (answer.balance !== undefined) meta['millicent/balance-mcents'] = toWireNumber(answer.balance);
  if (answer.freeCallsLeft !== undefined) meta['millicent/free-calls-left'] = answer.freeCallsLeft;
  return meta;
}

const X402_KEYS = ['x402/payment-response', 'x402.payment-response'];
const KEYS: Readonly<Record<string, readonly string[]>> = {
  'payment-response': X402_KEYS,
  'x-payment-response': X402_KEYS,
  'payment-receipt': ['org.paymentauth/receipt'],
};
