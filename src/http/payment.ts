import type { Carried } from '../payments/index.ts';
import type { Ctx } from './env.ts';

/** HTTP headers as the wires read them. */
export function carriedBy(c: Ctx): Carried {
  return { header: (name) => c.req.header(name) };
}
