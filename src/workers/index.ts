export { WorkerStartError } from './fleet.ts';
export { type Supervisor, type SupervisorOptions, startSupervisor } from './supervisor.ts';
export { joinSupervisor, type Worker } from './worker.ts';
export { WORKER_FLAG } from './worker-process.ts';
