import { randomUUID } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import type { Env } from '../env.ts';

const GIVEN = /^[A-Za-z0-9._-]{8,64}$/;

/**
 * Names every request, so that an answer and our log can be held side by side. Nothing is kept by caches unless
 * its route says so: answers hold balances, keys and results somebody paid for.
 */
export const requestId: MiddlewareHandler<Env> = async (c, next) => {
  const given = c.req.header('x-request-id');
  const id = given !== undefined && GIVEN.test(given) ? given : randomUUID();
  c.set('requestId', id);
  c.header('x-request-id', id);
  c.header('cache-control', 'no-store');
  return next();
};
