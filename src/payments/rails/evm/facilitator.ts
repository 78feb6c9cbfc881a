import { getAddress } from 'viem';
import { z } from 'zod';
import { readBounded, settleBy } from '../../../core/bounded-answer.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { Eip3009Form } from '../../form.ts';
import type { Token } from './token.ts';

/** An x402 facilitator over HTTP (specs/x402-specification-v2.md, section 7). Every call throws when it fails. */
export type Facilitator = {
  /** The address without its path, for logs. */
  readonly origin: string;
  /** Whether it says that it would settle this; `reason` is for our log alone. */
  verify(payment: FacilitatorPayment, signal: AbortSignal): Promise<{ isValid: boolean; reason: string }>;
  /** The transaction that it says it settled by; undefined when it says that it did not. */
  settle(
    payment: FacilitatorPayment,
    signal: AbortSignal,
  ): Promise<{ transaction: `0x${string}` | undefined; reason: string }>;
  /** Whether it settles `exact` payments of protocol version 2 on this network. */
  supports(network: string, signal: AbortSignal): Promise<boolean>;
};

export type FacilitatorPayment = { form: Eip3009Form; token: Token };

export type FacilitatorOptions = {
  url: string;
  /** What it knows us by, for example `Authorization: Bearer ...`. */
  header: { name: string; value: string } | undefined;
  timeouts: { callMs: number };
};

const ANSWER_BYTES_MAX = 64 * 1024;
/** Of the foreign text, what a log line needs. */
const REASON_CHARS_MAX = 200;

const reason = z.string().transform((text) => text.slice(0, REASON_CHARS_MAX));
const verifySchema = z.object({ isValid: z.boolean(), invalidReason: reason.optional() });
const settleSchema = z.object({
  success: z.boolean(),
  errorReason: reason.optional(),
  transaction: z.string().optional(),
});
const supportedSchema = z.object({
  kinds: z.array(z.object({ x402Version: z.number(), scheme: z.string(), network: z.string() })).max(10_000),
});
const transactionHash = z.custom<`0x${string}`>((value) => /^0x[0-9a-fA-F]{64}$/.test(String(value)));

export function createFacilitator(options: FacilitatorOptions): Facilitator {
  const post = (path: string, payment: FacilitatorPayment, signal: AbortSignal) =>
    request(options, { path, body: toBody(payment) }, signal);
  return {
    origin: new URL(options.url).origin,
    async verify(payment, signal) {
      const answer = verifySchema.parse(await post('/verify', payment, signal));
      return { isValid: answer.isValid, reason: answer.invalidReason ?? '' };
    },
    async settle(payment, signal) {
      const answer = settleSchema.parse(await post('/settle', payment, signal));
      const hash = transactionHash.safeParse(answer.transaction);
      const transaction = answer.success && hash.success ? hash.data : undefined;
      return { transaction, reason: answer.errorReason ?? '' };
    },
    async supports(network, signal) {
      const { kinds } = supportedSchema.parse(await request(options, { path: '/supported' }, signal));
      return kinds.some(
        (kind) => kind.x402Version === 2 && kind.scheme === 'exact' && kind.network === network,
      );
    },
  };
}

/** A version 2 request of `/verify` and `/settle`: the payer's payload, and what we asked for. */
function toBody({ form, token }: FacilitatorPayment): object {
  const { from, to, value, validAfter, validBefore, nonce, signature } = form;
  const seconds = Number(validBefore) - Math.floor(Date.now() / 1000);
  const paymentRequirements = {
    scheme: 'exact',
    network: form.network,
    amount: value.toString(),
    asset: getAddress(form.asset),
    payTo: getAddress(to),
    maxTimeoutSeconds: Math.max(seconds, 1),
    extra: { name: token.name, version: token.version },
  };
  const authorization = {
    ...{ from: getAddress(from), to: getAddress(to), nonce },
    ...{ value: `${value}`, validAfter: `${validAfter}`, validBefore: `${validBefore}` },
  };
  return {
    x402Version: 2,
    paymentPayload: { x402Version: 2, accepted: paymentRequirements, payload: { signature, authorization } },
    paymentRequirements,
  };
}

async function request(
  options: FacilitatorOptions,
  input: { path: string; body?: object },
  signal: AbortSignal,
): Promise<unknown> {
  const { header, url, timeouts } = options;
  const limit = timeLimit(signal, timeouts.callMs);
  const asked = fetch(`${url}${input.path}`, {
    method: input.body ? 'POST' : 'GET',
    headers: { 'content-type': 'application/json', ...(header ? { [header.name]: header.value } : {}) },
    ...(input.body ? { body: JSON.stringify(input.body) } : {}),
    // The header with our key goes to nobody else.
    redirect: 'error',
    signal: limit,
  });
  const response = await settleBy(limit, asked);
  const body = await readBounded(response, { bytesMax: ANSWER_BYTES_MAX, signal: limit });
  // A failed settlement comes with a status of its own and the same body.
  if (response.status >= 500) throw new Error(`the facilitator answered ${response.status}`);
  return JSON.parse(body.toString('utf8'));
}
