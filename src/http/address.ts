import { isIP } from 'node:net';
import type { Ctx, HttpDeps } from './env.ts';

/**
 * Who is at the other end. Behind proxies of ours it is the last address that none of them has: everything
 * before it in `X-Forwarded-For` was written by whoever wanted to.
 */
export function callerAddress(deps: Pick<HttpDeps, 'isTrustedProxy'>, c: Ctx): string | undefined {
  const remote = c.env?.incoming?.socket.remoteAddress;
  return addressOf(deps, remote, c.req.header('x-forwarded-for'));
}

/** The same of a request that no route has seen yet. */
export function addressOf(
  deps: Pick<HttpDeps, 'isTrustedProxy'>,
  remote: string | undefined,
  forwardedFor: string | undefined,
): string | undefined {
  let address = toPlain(remote);
  if (address === undefined || !deps.isTrustedProxy(address)) return address;
  const forwarded = (forwardedFor ?? '').split(',');
  for (const text of forwarded.reverse()) {
    const claimed = toPlain(text.trim());
    if (claimed === undefined || isIP(claimed) === 0) break;
    address = claimed;
    if (!deps.isTrustedProxy(address)) break;
  }
  return address;
}

/** IPv4 as such, also where a socket that takes both spells it as IPv6. */
function toPlain(address: string | undefined): string | undefined {
  return address?.replace(/^::ffff:(?=[0-9.]+$)/i, '');
}
