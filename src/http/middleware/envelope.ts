import { getPath } from 'hono/utils/url';
import { newUuid } from '../../core/ids.ts';
import type { Env } from '../env.ts';
import { CORS_HEADERS } from './cors.ts';

const GIVEN = /^[A-Za-z0-9._-]{8,64}$/;
const NOT_KEPT = ['cache-control', 'no-store'] as const;
const PUBLIC = CORS_HEADERS.flat();

/**
 * Names a request, so that an answer and our log can be held side by side, and puts on the socket's response
 * what every answer carries. Nothing is kept by caches unless its route says so: answers hold balances, keys
 * and results somebody paid for. Before Hono and not as its middleware: that would make a `Headers` object for
 * each answer, which costs as much as all the rest of one.
 */
export function openEnvelope(request: Request, env: Env['Bindings']): void {
  const { incoming, outgoing } = env;
  env.requestId = nameRequest(incoming?.headers['x-request-id']);
  if (!outgoing) return;
  outgoing.setHeader('x-request-id', env.requestId);
  outgoing.setHeader(...NOT_KEPT);
  // The path as Hono routes it, with what was percent-encoded decoded.
  if (getPath(request).startsWith('/v1/admin/')) return;
  for (const [name, value] of CORS_HEADERS) outgoing.setHeader(name, value);
}

/** The caller's own name for its request when it is a plain one, or else a new one. */
export function nameRequest(given: string | string[] | undefined): string {
  return typeof given === 'string' && GIVEN.test(given) ? given : newUuid();
}

/** The envelope as `writeHead` takes it, for an answer that is written at once. */
export function spellEnvelope(requestId: string): string[] {
  return ['x-request-id', requestId, ...NOT_KEPT, ...PUBLIC];
}
