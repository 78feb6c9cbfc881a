import { z } from 'zod';
import { timeLimit } from '../../../../../core/time-limit.ts';
import { readInvoice } from '../../bolt11.ts';
import { type Http, type HttpCall, HttpError, readLines } from '../../http.ts';
import type { LightningProvider, PaymentStanding } from '../../provider.ts';
import { hexToBase64Url, int64, toPaymentStanding } from '../fields.ts';

const paymentSchema = z.object({
  status: z.enum(['UNKNOWN', 'INITIATED', 'IN_FLIGHT', 'SUCCEEDED', 'FAILED']),
  payment_preimage: z.string().default(''),
  fee_msat: int64.default(0n),
  failure_reason: z.string().default(''),
});
const paymentLineSchema = z.object({ result: paymentSchema });

/** Pays once: what is under way or has succeeded is not sent again. */
export async function payByRouter(
  http: Http,
  input: Parameters<LightningProvider['pay']>[0],
  signal: AbortSignal,
): Promise<PaymentStanding> {
  const { paymentHash } = readInvoice(input.invoice);
  const earlier = await track(http, paymentHash, signal);
  // LND pays an invoice again after a failure, never beside or after a success: its own check is the last one.
  if (earlier.kind === 'succeeded' || earlier.kind === 'pending') return earlier;
  const call: HttpCall = {
    method: 'POST',
    path: '/v2/router/send',
    json: {
      payment_request: input.invoice,
      timeout_seconds: Math.ceil(input.timeoutMs / 1000),
      fee_limit_msat: input.feeMaxMsat.toString(),
      no_inflight_updates: true,
      ...(input.amountMsat === undefined ? {} : { amt_msat: input.amountMsat.toString() }),
    },
  };
  try {
    return await readPayment(http, call, timeLimit(signal, input.timeoutMs + 5_000));
  } catch (cause) {
    const known = await track(http, paymentHash, signal).catch(() => undefined);
    if (known && known.kind !== 'missing') return known;
    // Refused at the door and unknown to the node: nothing left. Anything else may have.
    if (known && cause instanceof HttpError) return { kind: 'failed', reason: cause.message };
    return { kind: 'pending' };
  }
}

/** What became of a payment. */
export async function track(
  http: Http,
  paymentHash: string,
  signal: AbortSignal,
): Promise<PaymentStanding | { kind: 'missing' }> {
  const path = `/v2/router/track/${hexToBase64Url(paymentHash)}?no_inflight_updates=false`;
  try {
    return await readPayment(http, { method: 'GET', path }, timeLimit(signal, 5_000));
  } catch (cause) {
    if (cause instanceof HttpError && cause.answer.status === 404) return { kind: 'missing' };
    if (cause instanceof HttpError && /isn't initiated|not found/i.test(cause.message))
      return { kind: 'missing' };
    throw cause;
  }
}

/** The first thing a stream says of a payment. */
async function readPayment(http: Http, call: HttpCall, signal: AbortSignal): Promise<PaymentStanding> {
  const response = await http.stream(call, signal);
  if (response.statusCode !== 200) {
    throw new HttpError(call, { status: response.statusCode, body: await response.body.text() });
  }
  for await (const line of readLines(response.body)) {
    const parsed = paymentLineSchema.safeParse(JSON.parse(line));
    if (!parsed.success) throw new HttpError(call, { status: 200, body: line });
    const { status, payment_preimage, fee_msat, failure_reason } = parsed.data.result;
    return toPaymentStanding({
      state: status === 'SUCCEEDED' ? 'succeeded' : status === 'FAILED' ? 'failed' : 'pending',
      preimage: payment_preimage,
      feeMsat: fee_msat,
      reason: failure_reason,
    });
  }
  return { kind: 'pending' };
}
