export type { LightningRailDeps, LightningSettings, LightningTimeouts } from './context.ts';
export { createHealth, type Health } from './health.ts';
export { createLightningRail } from './lightning-rail.ts';
export type { LightningProvider } from './provider.ts';
export { createFixedRate, createRate, createRateSource, type Rate } from './rate/index.ts';
export {
  createProvider,
  type LightningNodeOptions,
  type LightningOptions,
  type StartedLightning,
  startLightning,
} from './start.ts';
