import { isIP } from 'node:net';
import type { Ctx, HttpDeps } from '../env.ts';
import { CODE, RpcFault } from './json-rpc.ts';

/**
 * Refuses a page that reached us under a name that is not ours (MCP, "Transports: Security Warning"). Any page may
 * call the public gateway, as keys travel in headers and never in cookies; what no page may do is point a name of
 * its own at an address inside somebody's network (DNS rebinding). That takes a browser, which always says
 * `Origin`, and a name in `Host` that an attacker owns: neither ours, nor an address, nor this machine's own.
 * What a proxy of ours hands on was that proxy's to judge.
 */
export function refuseRebinding(deps: Pick<HttpDeps, 'settings' | 'isTrustedProxy'>, c: Ctx): void {
  const origin = c.req.header('origin');
  if (origin === undefined) return;
  if (origin !== 'null' && !URL.canParse(origin)) throw refusal('The Origin header is no origin.');
  const peer = c.env?.incoming?.socket.remoteAddress;
  if (peer !== undefined && deps.isTrustedProxy(peer.replace(/^::ffff:(?=[0-9.]+$)/i, ''))) return;
  const host = hostnameOf(`http://${c.req.header('host') ?? ''}`);
  if (host !== undefined && (isUnownable(host) || host === hostnameOf(deps.settings.publicUrl))) return;
  throw refusal('This gateway is not known by the name in the Host header.');
}

/** Names that no attacker can point anywhere. */
function isUnownable(host: string): boolean {
  return host === 'localhost' || isIP(host.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

function hostnameOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}

function refusal(message: string): RpcFault {
  return new RpcFault({ code: CODE.refused, message }, 403);
}
