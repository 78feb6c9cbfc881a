export type { TempoRailDeps, TempoTimeouts } from './context.ts';
export { createTempoRail, type TempoRail } from './tempo-rail.ts';
