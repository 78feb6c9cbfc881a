export { createDockerBackend, type DockerBackendDeps } from './backend.ts';
export type { DockerHost } from './engine.ts';
