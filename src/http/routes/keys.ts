import { Hono } from 'hono';
import { z } from 'zod';
import { AMOUNT_MILLICENTS_MAX, type Millicents, millicents, toWireNumber } from '../../core/money.ts';
import { Problem } from '../../core/problem.ts';
import {
  createChildKey,
  demandPayment,
  type IssuedKey,
  type KeyView,
  listKeys,
  mintKey,
  ownCaps,
  readCredential,
  rotateKey,
  signUp,
  signUpDemand,
  spendableBy,
  topUp,
  topUpDemand,
} from '../../gateway/index.ts';
import {
  DEFAULT_TIERS,
  isScope,
  isToolEntry,
  reachOf,
  type Scope,
  setTier,
  type Tier,
  tierOf,
} from '../../keys/index.ts';
import { type Caps, type CapUse, checkLedger } from '../../ledger/index.ts';
import { answerPaid, clientSignal } from '../answer.ts';
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

const cap = z
  .int()
  .min(0)
  .max(Number(AMOUNT_MILLICENTS_MAX))
  .transform((amount) => millicents(amount))
  .optional();
const capsSchema = z
  .strictObject({ per_call_mcents: cap, per_hour_mcents: cap, total_mcents: cap })
  .transform(
    ({ per_call_mcents: perCall, per_hour_mcents: perHour, total_mcents: total }): Caps => ({
      ...(perCall === undefined ? {} : { perCall }),
      ...(perHour === undefined ? {} : { perHour }),
      ...(total === undefined ? {} : { total }),
    }),
  );
const TOOL_ENTRIES_MAX = 100;
const childSchema = z.strictObject({
  label,
  scopes: scopes.optional(),
  caps: capsSchema.default({}),
  expires_at: z.iso
    .datetime({ offset: true, error: 'must be a time as in "2030-01-31T12:00:00Z"' })
    .transform((text) => new Date(text))
    .refine((time) => time > new Date(), 'must lie ahead')
    .optional(),
  tools: z
    .array(z.string().max(400).refine(isToolEntry, 'must be "publisher/server" or "publisher/server/tool"'))
    .min(1, 'must name at least one server or tool')
    .max(TOOL_ENTRIES_MAX)
    .optional(),
});
const tierSchema = z.strictObject({ key_id: z.string(), tier: z.string().max(64) });
const OVERLAP_SECONDS_MAX = 24 * 60 * 60;
const rotationSchema = z.strictObject({
  overlap_seconds: z.int().min(0).max(OVERLAP_SECONDS_MAX).default(0),
});

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
  app.post('/v1/admin/tier', (c) => postTier(deps, c));
  app.get('/v1/balance', async (c) => {
    const principal = await requirePrincipal(deps, c);
    const balance = toWireNumber(await spendableBy(deps, principal));
    const earnings = principal.publisherId && (await deps.ledger.earnings(principal.publisherId));
    return c.json({
      ok: true,
      balance_mcents: balance,
      ...toCapFields(await ownCaps(deps, principal)),
      tier: (await tierOf(deps.sql, deps.settings.tiers ?? DEFAULT_TIERS, principal.accountId)).name,
      ...(earnings && {
        publisher_id: principal.publisherId,
        earned_mcents: toWireNumber(earnings.earned),
        withdrawable_mcents: toWireNumber(earnings.available),
      }),
    });
  });
  app.get('/v1/keys', async (c) => {
    const principal = await requirePrincipal(deps, c);
    return c.json({ ok: true, keys: (await listKeys(deps, principal)).map(toKeyFields) });
  });
  app.post('/v1/keys', (c) => postKey(deps, c));
  app.post('/v1/keys/:id/rotate', (c) => postRotation(deps, c, c.req.param('id')));
  app.post('/v1/keys/:id/revoke', async (c) => {
    const principal = await requirePrincipal(deps, c);
    await deps.keys.revoke({ ...reachOf(principal), keyId: c.req.param('id') });
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
  const { key, claim } = await signUp(deps, input, { carried, credential, client: clientSignal(c) });
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
  const { balance, claim } = await topUp(deps, principal, amount, {
    carried,
    credential,
    client: clientSignal(c),
  });
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

async function postTier(deps: HttpDeps, c: Ctx): Promise<Response> {
  requireAdmin(deps, c);
  const body = await readBody(c, tierSchema, BODY_BYTES_MAX.key);
  const tier = await setTier(deps.sql, deps.settings.tiers ?? DEFAULT_TIERS, {
    keyId: body.key_id,
    tier: body.tier,
  });
  return c.json({ ok: true, key_id: body.key_id, ...toTierFields(tier) });
}

function toTierFields(tier: Tier): Record<string, unknown> {
  const { name, allowanceCallsPerDay, freeToolCallsPerDay } = tier;
  return {
    tier: name,
    allowance_calls_per_day: allowanceCallsPerDay,
    free_tool_calls_per_day: freeToolCallsPerDay ?? null,
  };
}

async function postKey(deps: HttpDeps, c: Ctx): Promise<Response> {
  const parent = await requirePrincipal(deps, c);
  const { expires_at: expiresAt, ...input } = await readBody(c, childSchema, BODY_BYTES_MAX.key);
  const child = await createChildKey(deps, parent, { ...input, expiresAt });
  c.header('cache-control', 'no-store');
  return c.json({
    ...toIssuedFields({ ...child, publisherId: undefined }),
    id: child.id,
    parent_id: child.parentId,
    label: input.label ?? null,
    tools: child.tools ?? null,
    caps: toCaps(input.caps),
    expires_at: child.expiresAt ?? null,
  });
}

async function postRotation(deps: HttpDeps, c: Ctx, keyId: string): Promise<Response> {
  const principal = await requirePrincipal(deps, c);
  const { overlap_seconds: overlapSeconds } = await readBody(c, rotationSchema, BODY_BYTES_MAX.key);
  const { keyText, formerValidUntil } = await rotateKey(deps, principal, { keyId, overlapSeconds });
  c.header('cache-control', 'no-store');
  return c.json({
    ...{ ok: true, id: keyId, key: keyText, key_shown_once: true },
    former_key_valid_until: formerValidUntil,
  });
}

function toKeyFields(key: KeyView): Record<string, unknown> {
  return {
    id: key.id,
    parent_id: key.parentId,
    label: key.label,
    scopes: key.scopes,
    tools: key.tools,
    created_at: key.createdAt,
    expires_at: key.expiresAt,
    revoked_at: key.revokedAt,
    ...toCapFields(key.use),
  };
}

/** Caps and what is used of them; nothing for a key without. */
function toCapFields(use: CapUse | undefined): Record<string, unknown> {
  if (!use) return {};
  return {
    caps: toCaps(use),
    used: {
      hour_mcents: toWireNumber(use.hourSpent),
      hour_ends_at: use.hourEndsAt,
      total_mcents: toWireNumber(use.spent),
      held_mcents: toWireNumber(use.held),
    },
  };
}

function toCaps(
  caps: Record<'perCall' | 'perHour' | 'total', bigint | null> | Caps,
): Record<string, unknown> {
  const spell = (amount: bigint | null | undefined) => (amount == null ? null : toWireNumber(amount));
  return {
    per_call_mcents: spell(caps.perCall),
    per_hour_mcents: spell(caps.perHour),
    total_mcents: spell(caps.total),
  };
}
