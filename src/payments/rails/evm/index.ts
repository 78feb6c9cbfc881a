export type { EvmRailDeps, EvmRailTimeouts } from './context.ts';
export { createEvmRail } from './evm-rail.ts';
export type { LogSearch } from './standing.ts';
export type { Token } from './token.ts';
