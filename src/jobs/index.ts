export { listJobs } from './jobs.ts';
export { startJobs } from './loop.ts';
