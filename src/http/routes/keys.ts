import { Hono } from 'hono';
import { z } from 'zod';
import { type Millicents, millicents, toWireNumber } from '../../core/money.ts';
import { Problem } from '../../core/problem.ts';
import {
  balanceOf,
  demandPayment,
  type IssuedKey,
  mintKey,
  readCredential,
  signUp,
  signUpDemand,
  topUp,
  topUpDemand,
} from '../../gateway/index.ts';
import { isScope, type Scope } from '../../keys/index.ts';
import { checkLedger } from '../../ledger/index.ts';
import { answerPaid } from '../answer.ts';
import { readPrincipal, requireAdmin, requirePrincipal } from '../auth.ts';
import { BODY_BYTES_MAX, readBody } from '../body.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';
import { carriedBy } from '../payment.ts';

/** What no database text holds, or would break the line it is shown on. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;

const label = z
  .string()
  .min(1)
  .max(100)
  .refine((text) => !UNPRINTABLE.test(text), 'must not hold control characters')
  .optional();
const signUpSchema = z.strictObject({ role: z.enum(['agent', 'publisher']).default('agent'), label });
const topUpSchema = z.strictObject({ amount_mcents: z.int() });
const scopes = z
  .array(z.custom<Scope>(isScope, 'must be one of example, read, invoke, publish, all'))
  .min(1, 'must name at least one scope');

/** Bearer keys: buying, filling, minting, listing and revoking them. */
export function keyRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.post('/v1/signup', (c) => postSignUp(deps, c));
  app.post('/v1/topup', (c) => postTopUp(deps, c));
  app.post('/v1/admin/mint', (c) => postMint(deps, c));
  app.get('/v1/admin/ledger/check', async (c) => {
    requireAdmin(deps, c);
    const { isBalanced, payers, ...report } = await checkLedger(deps.sql);
    const totals = {
      count: Number(payers.count),
      balance_mcents: toWireNumber(payers.balance),
      held_mcents: toWireNumber(payers.held),
    };
    return c.json({ ok: isBalanced, balanced: isBalanced, payers: totals, ...report });
  });
  app.get('/v1/balance', async (c) => {
    const principal = await requirePrincipal(deps, c);
    const balance = toWireNumber(await balanceOf(deps, principal.accountId));
    const earnings = principal.publisherId && (await deps.ledger.earnings(principal.publisherId));
    return c.json({
      ok: true,
      balance_mcents: balance,
      ...(earnings && {
        publisher_id: principal.publisherId,
        earned_mcents: toWireNumber(earnings.earned),
        withdrawable_mcents: toWireNumber(earnings.available),
      }),
    });
  });
  app.get('/v1/keys', async (c) => {
    const principal = await requirePrincipal(deps, c);
    return c.json({ ok: true, keys: (await deps.keys.list(principal.accountId)).map(toKeyFields) });
  });
  app.post('/v1/keys/:id/revoke', async (c) => {
    const { accountId } = await requirePrincipal(deps, c);
    await deps.keys.revoke({ accountId, keyId: c.req.param('id') });
    return c.json({ ok: true, id: c.req.param('id'), revoked: true });
  });
  return app;
}

async function postSignUp(deps: HttpDeps, c: Ctx): Promise<Response> {
  const body = await readBody(c, signUpSchema, BODY_BYTES_MAX.key);
  const input = { role: body.role, label: body.label };
  const carried = carriedBy(deps, c);
  const demand = signUpDemand(deps, input, carried);
  const credential = await readCredential(deps, carried, () => demand);
  if (!credential) throw await demandPayment(deps, demand);
  const { key, claim } = await signUp(deps, input, { carried, credential });
  return answerPaid(deps, c, claim, toIssuedFields(key));
}

async function postTopUp(deps: HttpDeps, c: Ctx): Promise<Response> {
  const principal = await readPrincipal(deps, c);
  if (!principal)
    throw new Problem('unauthorized', { detail: 'A top-up needs the key it fills.', isUncharged: true });
  const body = await readBody(c, topUpSchema, BODY_BYTES_MAX.key);
  const amount = boundTopUp(deps, body.amount_mcents);
  const carried = carriedBy(deps, c);
  const demand = topUpDemand(deps, principal, amount, carried);
  const credential = await readCredential(deps, carried, () => demand);
  if (!credential) throw await demandPayment(deps, demand);
  const { balance, claim } = await topUp(deps, principal, amount, { carried, credential });
  return answerPaid(deps, c, claim, {
    ok: true,
    credited_mcents: toWireNumber(claim.amount),
    balance_mcents: toWireNumber(balance),
  });
}

function boundTopUp(deps: HttpDeps, amount: number): Millicents {
  const { topUpMin, topUpMax } = deps.settings;
  if (amount >= Number(topUpMin) && amount <= Number(topUpMax)) return millicents(amount);
  throw new Problem('malformed-request', {
    detail: `amount_mcents must be from ${topUpMin} to ${topUpMax}.`,
    isUncharged: true,
  });
}

async function postMint(deps: HttpDeps, c: Ctx): Promise<Response> {
  requireAdmin(deps, c);
  const max = Number(deps.settings.mintMax);
  const schema = z.strictObject({ balance_mcents: z.int().min(0).max(max), scopes, label });
  const body = await readBody(c, schema, BODY_BYTES_MAX.key);
  const key = await mintKey(deps, {
    balance: millicents(body.balance_mcents),
    scopes: body.scopes,
    label: body.label,
  });
  c.header('cache-control', 'no-store');
  return c.json(toIssuedFields(key));
}

function toIssuedFields(key: IssuedKey): Record<string, unknown> {
  return {
    ok: true,
    key: key.keyText,
    key_shown_once: true,
    balance_mcents: toWireNumber(key.balance),
    scopes: key.scopes,
    ...(key.publisherId ? { publisher_id: key.publisherId } : {}),
  };
}

function toKeyFields(key: Awaited<ReturnType<HttpDeps['keys']['list']>>[number]): Record<string, unknown> {
  return {
    id: key.id,
    label: key.label,
    scopes: key.scopes,
    created_at: key.createdAt,
    expires_at: key.expiresAt,
    revoked_at: key.revokedAt,
  };
}
