import { Hono } from 'hono';
import { Problem } from './core/problem.ts';
import type { App, Env, HttpDeps } from './http/index.ts';
import {
  answerProblem,
  callRoutes,
  cors,
  keyRoutes,
  metaRoutes,
  registryRoutes,
  requestId,
} from './http/index.ts';

/** The whole HTTP surface over its deps. It never listens and never reads the environment. */
export function createApp(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.use(requestId);
  app.use(cors);
  app.route('/', callRoutes(deps));
  app.route('/', keyRoutes(deps));
  app.route('/', registryRoutes(deps));
  app.route('/', metaRoutes(deps));
  app.onError((error, c) => answerProblem(deps.log, error, c));
  app.notFound((c) => {
    const detail = `${c.req.method} ${c.req.path} is not served here.`;
    return answerProblem(deps.log, new Problem('not-found', { detail }), c);
  });
  return app;
}
