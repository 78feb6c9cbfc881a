export { type BubblewrapDeps, createBubblewrapBackend, defaultWorkDir } from './bubblewrap/index.ts';
export { createNoBackend } from './none.ts';
