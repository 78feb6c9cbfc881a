import { Hono } from 'hono';
import { Problem } from '../../core/problem.ts';
import { receiveWebhook } from '../../gateway/index.ts';
import type { WebhookReader } from '../../payments/index.ts';
import { readContent } from '../content.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';
import { CORS_HEADERS } from '../middleware/cors.ts';

/** Stripe's events are some kilobytes. */
const EVENT_BYTES_MAX = 256 * 1024;

export type StripeRouteDeps = Pick<HttpDeps, 'sql' | 'log'> & { stripeWebhook: WebhookReader };

/** Where Stripe tells what happened (Receive Stripe events in your webhook endpoint). */
export function stripeRoutes(deps: StripeRouteDeps): App {
  const app = new Hono<Env>();
  app.post('/webhooks/stripe', (c) => postEvent(deps, c));
  return app;
}

async function postEvent(deps: StripeRouteDeps, c: Ctx): Promise<Response> {
  // No page has any business here.
  for (const [name] of CORS_HEADERS) c.env.outgoing?.removeHeader(name);
  const reading = deps.stripeWebhook.read(await readEvent(c), c.req.header('stripe-signature'));
  if (reading.kind === 'refused') throw new Problem('malformed-request', { detail: reading.reason });
  const outcome = await receiveWebhook(deps, reading.event);
  return c.json({ ok: true, received: outcome });
}

/** The very bytes that were signed. */
async function readEvent(c: Ctx): Promise<Uint8Array> {
  try {
    return await readContent(c, EVENT_BYTES_MAX);
  } catch (cause) {
    if (!(cause instanceof Problem) || cause.type !== 'body-too-large') throw cause;
    throw new Problem('malformed-request', { detail: cause.options.detail });
  }
}
