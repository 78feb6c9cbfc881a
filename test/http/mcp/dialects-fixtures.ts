import { silentLog } from '../../../src/core/log.ts';
import { Problem } from '../../../src/core/problem.ts';
import type { JsonObject, PaymentContext } from '../../../src/http/mcp/dialects/index.ts';
import type { Carried } from '../../../src/payments/index.ts';
import { createX402Wire } from '../../../src/payments/wires/x402/index.ts';
import { quoteOf } from '../../payments/rails/conformance.ts';
import { challengeOf, everyOffer, evmOffer, wireOf } from '../../payments/wires/mpp-fixtures.ts';

/** HTTP headers as a carrier hands them over. */
export function carried(headers: Record<string, string> = {}): Carried {
  const names = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return { method: 'POST', header: (name) => names.get(name.toLowerCase()), bodyDigest: () => 'ZGlnZXN0' };
}

/** A 402 as the gateway makes it, out of the real wires of MPP and x402. */
export function paymentRequired(): Problem {
  const mpp = challengeOf(wireOf());
  const x402 = createX402Wire({
    log: silentLog,
    networks: [{ chainId: 84_532, token: evmOffer.asset }],
  }).challenge({
    ...{ quote: quoteOf(), quoteToken: 'q3.token', offers: everyOffer, carried: carried() },
    refusal: undefined,
  });
  if (!x402) throw new Error('no challenge');
  return new Problem('payment-required', {
    detail: 'One call of echo of acme/echo costs $0.0025.',
    isUncharged: true,
    headers: [...x402.headers, ...mpp.headers, ['WWW-Authenticate', 'L402 macaroon="m", invoice="lnbc1"']],
    members: { amount_mcents: 250, ...x402.body, ...mpp.body },
  });
}

export function context(change: Partial<PaymentContext> = {}): PaymentContext {
  return {
    ...{ era: '2025', hasOutputSchema: false, capabilities: {}, meta: undefined, isHttpPayer: false },
    ...{ requestId: 'test-request', person: undefined, ...change },
  };
}

/** The `_meta` of a result or of an error's data. */
export function metaOf(result: JsonObject): JsonObject {
  return (result._meta ?? {}) as JsonObject;
}
