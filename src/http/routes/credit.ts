import { Hono } from 'hono';
import { z } from 'zod';
import { toWireNumber } from '../../core/money.ts';
import { challengeCredit, claimCredit } from '../../gateway/index.ts';
import { BODY_BYTES_MAX, readBody } from '../body.ts';
import type { App, Env, HttpDeps } from '../env.ts';

const payer = z
  .string()
  .max(80)
  .transform((text) => text.toLowerCase());
const askSchema = z.strictObject({ payer });
const claimSchema = z.strictObject({
  payer,
  nonce: z.string().max(64),
  issued_at: z.iso.datetime().transform((text) => new Date(text)),
  signature: z.templateLiteral(['0x', z.string().regex(/^(?:[0-9a-fA-F]{2}){65,2048}$/)]),
});

/** Credit that payments left here without buying anything, opened by a fresh signature of their payer. */
export function creditRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.post('/v1/credit/challenge', async (c) => {
    const body = await readBody(c, askSchema, BODY_BYTES_MAX.key);
    const { message, nonce, issuedAt, expiresAt } = challengeCredit(deps, body.payer);
    return c.json({ ok: true, message, nonce, issued_at: issuedAt, expires_at: expiresAt });
  });
  app.post('/v1/credit', async (c) => {
    const { issued_at: issuedAt, ...claim } = await readBody(c, claimSchema, BODY_BYTES_MAX.key);
    const key = await claimCredit(deps, { ...claim, issuedAt }, deps.challengeBound());
    return c.json({
      ok: true,
      key: key.keyText,
      key_shown_once: true,
      balance_mcents: toWireNumber(key.balance),
      scopes: key.scopes,
    });
  });
  return app;
}
