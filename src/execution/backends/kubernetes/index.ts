export { createKubernetesBackend, type KubernetesBackendDeps } from './backend.ts';
