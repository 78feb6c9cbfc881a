export type { TempoRailDeps, TempoTimeouts } from './context.ts';
export { createTempoRail } from './tempo-rail.ts';
