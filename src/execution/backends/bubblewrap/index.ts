export { type BubblewrapDeps, createBubblewrapBackend } from './backend.ts';
export type { Programs } from './programs.ts';
export { defaultWorkDir } from './work-dir.ts';
