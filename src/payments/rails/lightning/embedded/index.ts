export { createEmbeddedProvider, type EmbeddedProviderDeps } from './client.ts';
