import type { MiddlewareHandler } from 'hono';
import type { Env } from '../env.ts';

const ALLOWED_HEADERS = [
  'Authorization',
  'Content-Type',
  'Idempotency-Key',
  'Prefer',
  'X-Api-Key',
  'PAYMENT-SIGNATURE',
  'X-PAYMENT',
  'Payment-Authorization',
  'Accept-Payment',
  'Mcp-Session-Id',
  'MCP-Protocol-Version',
].join(', ');
const EXPOSED_HEADERS = [
  'PAYMENT-REQUIRED',
  'PAYMENT-RESPONSE',
  'X-PAYMENT-RESPONSE',
  'Payment-Receipt',
  'WWW-Authenticate',
  'Retry-After',
  'X-Request-Id',
].join(', ');

/** Any page may call the public routes; keys travel in headers, never in cookies. Admin routes stay closed. */
export const cors: MiddlewareHandler<Env> = async (c, next) => {
  if (c.req.path.startsWith('/v1/admin/')) return next();
  if (c.req.method === 'OPTIONS') {
    return c.body(null, 204, {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'GET, POST, PUT, OPTIONS',
      'access-control-allow-headers': ALLOWED_HEADERS,
      'access-control-max-age': '86400',
    });
  }
  c.header('access-control-allow-origin', '*');
  c.header('access-control-expose-headers', EXPOSED_HEADERS);
  return next();
};
