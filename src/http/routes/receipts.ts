import { Hono } from 'hono';
import { Problem } from '../../core/problem.ts';
import type { App, Env, HttpDeps } from '../env.ts';

/** Receipts: whoever knows a receipt's id may have it, and learns of no other. And who signs them. */
export function receiptRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.get('/receipts/:id', async (c) => {
    const issued = await deps.receipts.getReceipt(c.req.param('id'));
    if (!issued) throw new Problem('not-found', { detail: 'There is no receipt with this id.' });
    const { payload, jws, batch, log } = issued;
    return c.json({ ok: true, receipt: payload, jws, ...(batch && { batch }), ...(log && { log }) });
  });
  // did:web looks at the first for an address without a path, and at the second, under the path, for one with.
  for (const path of ['/.well-known/did.json', '/did.json']) {
    app.get(path, (c) => {
      c.header('cache-control', 'public, max-age=300');
      return c.json(deps.didDocument());
    });
  }
  return app;
}
