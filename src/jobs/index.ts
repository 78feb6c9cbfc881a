export { listJobs } from './jobs.ts';
export { type Job, startJobs } from './loop.ts';
