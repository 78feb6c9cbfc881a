import type { Carried } from '../payments/index.ts';
import type { Ctx, HttpDeps } from './env.ts';

/** HTTP headers as the wires read them. */
export function carriedBy(c: Ctx): Carried {
  return { header: (name) => c.req.header(name) };
}

/** How long the payment side of a request may take before it answers by itself. */
export function paymentBound(deps: HttpDeps): AbortSignal {
  return AbortSignal.timeout(deps.settings.settleTimeoutMs);
}
