export type { App, Env, HttpDeps } from './env.ts';
export { cors } from './middleware/cors.ts';
export { requestId } from './middleware/request-id.ts';
export { answerProblem } from './problems.ts';
export { callRoutes } from './routes/calls.ts';
export { keyRoutes } from './routes/keys.ts';
export { metaRoutes } from './routes/meta.ts';
export { registryRoutes } from './routes/registry.ts';
