import { Hono } from 'hono';
import { z } from 'zod';
import { adoptDifferences, type ReconciliationReport, reconcileRails } from '../../gateway/index.ts';
import { requireAdmin } from '../auth.ts';
import { BODY_BYTES_MAX, readBody } from '../body.ts';
import type { App, Env, HttpDeps } from '../env.ts';

const adoptSchema = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(100)
    .regex(/^[A-Za-z0-9 ._:-]+$/),
});

/** The operator's reconciliation: every rail beside the books. */
export function reconcileRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.get('/v1/admin/reconcile', async (c) => {
    requireAdmin(deps, c);
    return c.json(toFields(await reconcileRails(deps, deps.challengeBound())));
  });
  app.post('/v1/admin/reconcile/adopt', async (c) => {
    requireAdmin(deps, c);
    const { name } = await readBody(c, adoptSchema, BODY_BYTES_MAX.key);
    return c.json(toFields(await adoptDifferences(deps, name, deps.challengeBound())));
  });
  return app;
}

/** Native units outgrow JSON numbers, so they are decimal strings. */
function toFields({ isReconciled, assets, unreachable }: ReconciliationReport): Record<string, unknown> {
  return {
    ok: isReconciled,
    reconciled: isReconciled,
    unreachable,
    assets: assets.map(({ account, unit, verdict, booked, float, external, difference, open }) => ({
      ...{ account, unit, verdict, booked: String(booked), float: String(float) },
      external: external?.toString() ?? null,
      difference: difference?.toString() ?? null,
      open: Object.fromEntries(Object.entries(open).map(([state, units]) => [state, String(units)])),
    })),
  };
}
