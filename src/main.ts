import { once } from 'node:events';
import { pino } from 'pino';
import { type Config, ConfigError, readConfig } from './config.ts';
import type { Log } from './core/log.ts';
import { joinSupervisor, startSupervisor, WORKER_FLAG, WorkerStartError } from './workers/index.ts';

/** The process: a gateway, or the supervisor of several, or one of those. It ends on SIGTERM and fails no call. */
async function main(): Promise<void> {
  const config = readConfig();
  const worker = process.argv.find((argument) => argument.startsWith(WORKER_FLAG))?.slice(WORKER_FLAG.length);
  const log = pino({
    level: config.logLevel,
    base: worker === undefined ? null : { worker: Number(worker) },
  });
  if (worker !== undefined) return runWorker(config, log);
  return config.workers.count === 1 ? runAlone(config, log) : runSupervisor(config, log);
}

async function runAlone(config: Config, log: Log): Promise<void> {
  const ending = endOnSignals(log);
  const [{ serve }, { listen }] = await Promise.all([import('./serve.ts'), import('./server.ts')]);
  const { url, stop } = await serve({
    ...{ config, log },
    open: async (server) => {
      const port = await listen(server, config);
      return config.publicUrl ?? `http://${config.host}:${port}`;
    },
  });
  process.send?.({ kind: 'ready', url });
  await ending.begin();
  await stop();
  process.exit(0);
}

async function runSupervisor(config: Config, log: Log): Promise<void> {
  const ending = endOnSignals(log);
  let closeStore = async () => {};
  const supervisor = await startSupervisor({
    program: { main: ownProgram(), nodeArguments: process.execArgv },
    count: config.workers.count,
    address: { host: config.host, port: config.port },
    ...{ publicUrl: config.publicUrl, log, ending: ending.signal },
    async prepare() {
      const [{ prepareStore }, { readSecrets }] = await Promise.all([
        import('./deps/store.ts'),
        import('./secrets.ts'),
      ]);
      readSecrets(config);
      closeStore = (await prepareStore(config, log)).close;
    },
  });
  log.info({ url: supervisor.publicUrl, workers: config.workers.count }, 'all workers are ready');
  process.send?.({ kind: 'ready', url: supervisor.publicUrl });
  await ending.begin();
  await supervisor.stop();
  await closeStore();
  process.exit(0);
}

/** Ends when the supervisor says so or is gone; a signal only asks it for leave, as connections may be on their way. */
async function runWorker(config: Config, log: Log): Promise<void> {
  const worker = joinSupervisor(config.workers.count);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, worker.retire);
  const starting = import('./serve.ts');
  const begun = await Promise.race([worker.begun, worker.drained]);
  // Let go before there was anything to do.
  if (!begun) process.exit(0);
  const { serve } = await starting;
  const { stop } = await serve({
    ...{ config, log, siblings: worker.siblings },
    open: async (server) => {
      worker.serve(server);
      return begun.publicUrl;
    },
  });
  worker.sayReady();
  await worker.drained;
  await stop();
  process.exit(0);
}

/** What Node was started with: these sources, or the program that runs a bundle of them. */
function ownProgram(): string {
  return process.argv[1] ?? import.meta.filename;
}

/** Nothing was sold yet by what still starts; what is half begun is better finished, if it does not take long. */
const STARTING_MS_MAX = 10_000;
/** Longer than all that is waited for in turn: the drain of workers, jobs, charges, runs, the database. */
const ENDING_MS_MAX = 180_000;

type Ending = {
  /** Aborts when the process is told to end. */
  signal: AbortSignal;
  /** To be called once it has started; resolves when it is told to end. */
  begin(): Promise<void>;
};

/** Listens from the first moment: where we are a container's first process the system would drop what nobody hears. */
function endOnSignals(log: Log): Ending {
  const told = new AbortController();
  let isStarted = false;
  const end = () => {
    if (told.signal.aborted) return;
    told.abort();
    setTimeout(() => isStarted || process.exit(0), STARTING_MS_MAX).unref();
    setTimeout(() => {
      log.error(
        { afterMs: ENDING_MS_MAX },
        'could not end in time; what is left open is taken over by others',
      );
      process.exit(1);
    }, ENDING_MS_MAX).unref();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end);
  return {
    signal: told.signal,
    async begin() {
      isStarted = true;
      if (!told.signal.aborted) await once(told.signal, 'abort');
    },
  };
}

/** The port is the operator's choice like the rest of the configuration. */
function describeListening(cause: unknown): string | undefined {
  if (!(cause instanceof Error) || !('syscall' in cause) || cause.syscall !== 'listen') return undefined;
  return `millicent: cannot ${cause.message}; HOST and PORT say where to listen`;
}

main().catch((cause: unknown) => {
  // A mistake in the configuration is told in one line; anything else with its trace.
  if (cause instanceof ConfigError) console.error(`millicent: ${cause.message}`);
  else if (cause instanceof WorkerStartError) console.error(`millicent: ${cause.message}`);
  else console.error(describeListening(cause) ?? cause);
  process.exit(1);
});
