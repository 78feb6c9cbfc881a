import { sha256 } from '../core/bytes.ts';
import { Problem } from '../core/problem.ts';
import type { Carried } from '../payments/index.ts';
import { callerAddress } from './address.ts';
import { readPrincipal } from './auth.ts';
import type { Ctx, HttpDeps } from './env.ts';

/** What a request brings to pay with, and how it wants to be answered. */
export async function readPayment(deps: HttpDeps, c: Ctx) {
  return {
    principal: await readPrincipal(deps, c),
    carried: carriedBy(deps, c),
    idempotencyKey: readIdempotencyKey(c),
    wantsReceipt: /\breceipt\b/i.test(c.req.header('prefer') ?? ''),
  };
}

/** HTTP headers, and what else of a request the wires look at. */
export function carriedBy(deps: HttpDeps, c: Ctx): Carried {
  return {
    method: c.req.method,
    header(name) {
      return c.req.header(name);
    },
    address: callerAddress(deps, c),
    bodyDigest() {
      const content = c.get('content');
      return content && content.length > 0 ? sha256(content).toString('base64') : undefined;
    },
  };
}

function readIdempotencyKey(c: Ctx): string | undefined {
  const key = c.req.header('idempotency-key');
  if (key === undefined || (key.length >= 1 && key.length <= 255)) return key;
  throw new Problem('malformed-request', {
    detail: 'Idempotency-Key is 1 to 255 characters.',
    isUncharged: true,
  });
}
