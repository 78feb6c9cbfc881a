import { Hono } from 'hono';
import { Problem } from './core/problem.ts';
import type { App, Env, HttpDeps } from './http/index.ts';
import {
  anchorRoutes,
  answerProblem,
  bundleRoutes,
  callRoutes,
  checkoutRoutes,
  creditRoutes,
  exampleRoutes,
  keyRoutes,
  limitAddress,
  logRoutes,
  mcpRoutes,
  metaRoutes,
  metricsRoutes,
  openEnvelope,
  payRoutes,
  preflight,
  receiptRoutes,
  reconcileRoutes,
  registryRoutes,
  releaseKeyRoutes,
  salesRoutes,
  stripeRoutes,
} from './http/index.ts';

/** What no page in a browser has any business with. */
const NOT_FOR_PAGES = /^\/(?:v1\/admin|webhooks)\//;

/** The whole HTTP surface over its deps. It never listens and never reads the environment. */
export function createApp(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.options('*', (c, next) => (NOT_FOR_PAGES.test(c.req.path) ? next() : preflight(c, next)));
  app.route('/', exampleRoutes(deps));
  app.route('/', callRoutes(deps));
  app.route('/', keyRoutes(deps));
  app.route('/', creditRoutes(deps));
  app.route('/', reconcileRoutes(deps));
  if (deps.checkout) app.route('/', checkoutRoutes(deps, deps.checkout));
  const { stripeWebhook } = deps;
  if (stripeWebhook) app.route('/', stripeRoutes({ ...deps, stripeWebhook }));
  app.route('/', mcpRoutes(deps));
  app.route('/', payRoutes(deps));
  app.route('/', registryRoutes(deps));
  app.route('/', logRoutes(deps));
  app.route('/', bundleRoutes(deps));
  app.route('/', releaseKeyRoutes(deps));
  app.route('/', receiptRoutes(deps));
  app.route('/', salesRoutes(deps));
  app.route('/', anchorRoutes(deps));
  app.route('/', metricsRoutes(deps));
  app.route('/', metaRoutes(deps));
  app.onError((error, c) => answerProblem(deps.log, error, c));
  app.notFound((c) => {
    const detail = `${c.req.method} ${c.req.path} is not served here.`;
    return answerProblem(deps.log, new Problem('not-found', { detail }), c);
  });
  const answer = app.fetch;
  app.fetch = (request, env = {}, context) => {
    openEnvelope(request, env);
    return limitAddress(deps, env) ?? answer(request, env, context);
  };
  return app;
}
