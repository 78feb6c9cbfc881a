import { Hono } from 'hono';
import { Problem } from '../../core/problem.ts';
import { bundleOfLeaf, bundleOfVersion } from '../../gateway/index.ts';
import type { Bundle } from '../../provenance/index.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';

const LEAF_INDEX = /^(?:0|[1-9][0-9]{0,14})$/;

/** Proof bundles, which `millicent verify` checks without asking anybody. */
export function bundleRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.get('/mcp/:id/versions/:version/bundle', async (c) => {
    const { id, version } = c.req.param();
    return answer(c, await bundleOfVersion(deps, { server: id, version }));
  });
  app.get('/log/bundle/:leafIndex', async (c) => {
    const text = c.req.param('leafIndex');
    if (!LEAF_INDEX.test(text)) {
      throw new Problem('malformed-request', {
        detail: 'A leaf is asked for by its index, a whole number from 0 on.',
      });
    }
    return answer(c, await bundleOfLeaf(deps, Number(text)));
  });
  return app;
}

/** A bundle holds for good; asked for later there may be a better one, with an anchor or a newer one. */
function answer(c: Ctx, bundle: Bundle): Response {
  c.header('cache-control', `public, max-age=${bundle.anchor ? 60 : 5}`);
  return c.json(bundle);
}
