import { Hono } from 'hono';
import { Problem } from '../../core/problem.ts';
import type { App, Env, HttpDeps } from '../env.ts';

/** Receipts: whoever knows a receipt's id may have it, and learns of no other. */
export function receiptRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.get('/receipts/:id', async (c) => {
    const issued = await deps.receipts.getReceipt(c.req.param('id'));
    if (!issued) throw new Problem('not-found', { detail: 'There is no receipt with this id.' });
    const { payload, jws, batch, log } = issued;
    return c.json({ ok: true, receipt: payload, jws, ...(batch && { batch }), ...(log && { log }) });
  });
  return app;
}
