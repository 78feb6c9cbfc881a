export type { App, Env, HttpDeps } from './env.ts';
export { preflight } from './middleware/cors.ts';
export { openEnvelope } from './middleware/envelope.ts';
export { answerProblem } from './problems.ts';
export { callRoutes } from './routes/calls.ts';
export { keyRoutes } from './routes/keys.ts';
export { metaRoutes } from './routes/meta.ts';
export { registryRoutes } from './routes/registry.ts';
