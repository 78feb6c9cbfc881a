import type { Handler } from 'hono';
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
  // A response header by its meaning, and yet x402's clients send it along with every payment.
  'Access-Control-Expose-Headers',
  'Mcp-Session-Id',
  'MCP-Protocol-Version',
  'Mcp-Method',
  'Mcp-Name',
  'Allow-Network',
  'Expect-Tools-Hash',
].join(', ');
const EXPOSED_HEADERS = [
  'PAYMENT-REQUIRED',
  'PAYMENT-RESPONSE',
  'X-PAYMENT-RESPONSE',
  'Payment-Receipt',
  'WWW-Authenticate',
  'Retry-After',
  'RateLimit-Policy',
  'RateLimit',
  'X-Request-Id',
  'Mcp-Session-Id',
].join(', ');

/** Any page may call the public routes; keys travel in headers, never in cookies. Admin routes stay closed. */
export const CORS_HEADERS = [
  ['access-control-allow-origin', '*'],
  ['access-control-expose-headers', EXPOSED_HEADERS],
] as const;

/** What a browser asks before it calls. */
export const preflight: Handler<Env> = (c) =>
  c.body(null, 204, {
    'access-control-allow-methods': 'GET, POST, PUT, OPTIONS',
    'access-control-allow-headers': ALLOWED_HEADERS,
    'access-control-max-age': '86400',
  });
