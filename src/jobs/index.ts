export { listJobs } from './jobs.ts';
export { type Job, startJobs } from './loop.ts';
export { inSlices, pruneHistory, pruneShortLived, RETENTION_MS } from './prune.ts';
