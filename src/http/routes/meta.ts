import { Hono } from 'hono';
import { toWireNumber } from '../../core/money.ts';
import { EXAMPLE_PRICE } from '../../gateway/index.ts';
import { SCOPES } from '../../keys/index.ts';
import type { App, Env, HttpDeps } from '../env.ts';
import { llmsText, openApiDocument } from '../openapi/document.ts';

/** What a gateway says of itself: health, prices, and the keys that sign its receipts. */
export function metaRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.get('/v1/health', (c) => c.json({ ok: true, version: deps.version }));
  app.get('/ready', async (c) => {
    const { isReady, checks } = await deps.isReady();
    return c.json({ ok: isReady, checks }, isReady ? 200 : 503);
  });
  app.get('/v1/pricing', (c) => {
    const { signupPrice, signupCredit, topUpMin, topUpMax } = deps.settings;
    return c.json({
      ok: true,
      currency: 'USD',
      mcents_per_dollar: 100_000,
      rails: deps.rails.map(({ name }) => name),
      wires: deps.wires.map(({ name }) => name),
      signup: { price_mcents: toWireNumber(signupPrice), balance_mcents: toWireNumber(signupCredit) },
      topup: { min_mcents: toWireNumber(topUpMin), max_mcents: toWireNumber(topUpMax) },
      example: { price_mcents: toWireNumber(EXAMPLE_PRICE) },
      split: { hosted_publisher_percent: 80, self_hosted_publisher_percent: 95 },
    });
  });
  app.get('/.well-known/oauth-protected-resource', (c) => c.json(describeResource(deps, '')));
  app.get('/.well-known/oauth-protected-resource/*', (c) =>
    c.json(describeResource(deps, c.req.path.slice('/.well-known/oauth-protected-resource'.length))),
  );
  app.get('/openapi.json', (c) => c.json(openApiDocument(deps)));
  app.get('/llms.txt', (c) => c.text(llmsText(deps)));
  app.get('/.well-known/jwks.json', (c) => {
    c.header('cache-control', 'public, max-age=300');
    return c.json(deps.jwks());
  });
  return app;
}

/**
 * What a client has to show (RFC 9728). Keys are bought and not granted, so no authorization server is named: the
 * RFC has such lists left out when they are empty.
 */
function describeResource({ settings }: HttpDeps, path: string): object {
  const { publicUrl } = settings;
  return {
    resource: `${publicUrl}${path}`,
    resource_name: 'Millicent',
    resource_documentation: `${publicUrl}/llms.txt`,
    bearer_methods_supported: ['header'],
    scopes_supported: SCOPES,
    jwks_uri: `${publicUrl}/.well-known/jwks.json`,
  };
}
