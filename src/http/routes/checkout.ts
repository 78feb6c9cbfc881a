import { Hono } from 'hono';
import { z } from 'zod';
import { millicents } from '../../core/money.ts';
import { Problem } from '../../core/problem.ts';
import { openCheckout } from '../../gateway/index.ts';
import type { Checkout } from '../../payments/index.ts';
import { requirePrincipal } from '../auth.ts';
import { BODY_BYTES_MAX, readBody } from '../body.ts';
import type { App, Env, HttpDeps } from '../env.ts';

/** Payment pages on which a person fills a key with a card. */
export function checkoutRoutes(deps: HttpDeps, checkout: Checkout): App {
  const app = new Hono<Env>();
  app.post('/v1/topup/checkout', async (c) => {
    const principal = await requirePrincipal(deps, c);
    const { topUpMin, topUpMax } = deps.settings;
    const schema = z.strictObject({ amount_mcents: z.int().min(Number(topUpMin)).max(Number(topUpMax)) });
    const { amount_mcents: amount } = await readBody(c, schema, BODY_BYTES_MAX.key);
    if (amount % MCENTS_PER_CENT !== 0) {
      const detail = `A card pays whole cents: amount_mcents must be a multiple of ${MCENTS_PER_CENT}.`;
      throw new Problem('malformed-request', { detail, isUncharged: true });
    }
    const opened = await openCheckout({ ...deps, checkout }, principal, millicents(amount));
    return c.json({
      ok: true,
      checkout_url: opened.checkoutUrl,
      session_id: opened.sessionId,
      expires_at: opened.expiresAt,
    });
  });
  return app;
}

const MCENTS_PER_CENT = 1_000;
