import { sha256 } from '../core/bytes.ts';
import type { Carried } from '../payments/index.ts';
import { callerAddress } from './address.ts';
import type { Ctx, HttpDeps } from './env.ts';

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
