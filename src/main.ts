import type { HttpBindings } from '@hono/node-server';
import { pino } from 'pino';
import { createApp } from './app.ts';
import { ConfigError, readConfig } from './config.ts';
import { createDeps } from './deps.ts';
import { adoptOrphans, noteOpenings } from './gateway/index.ts';
import type { App, HttpDeps } from './http/index.ts';
import { listJobs, startJobs } from './jobs/index.ts';
import { createServer, drain, listen } from './server.ts';

const OPENINGS_MS = 3_000;

/** The process: configuration, deps, jobs, listen, and a drain on SIGTERM that fails no call in flight. */
async function main(): Promise<void> {
  const config = readConfig();
  const log = pino({ level: config.logLevel, base: null });
  let app: App | undefined;
  let isDraining = false;
  const server = createServer((request, env) => {
    // A client that keeps its connection would be served on and on: while draining this answer is its last.
    if (isDraining && 'shouldKeepAlive' in env.outgoing) env.outgoing.shouldKeepAlive = false;
    return app ? app.fetch(request, env as HttpBindings) : new Response('starting', { status: 503 });
  });
  const port = await listen(server, config);
  const publicUrl = config.publicUrl ?? `http://${config.host}:${port}`;
  const deps = await createDeps({ config, log, publicUrl, isDraining: () => isDraining });
  // The heartbeat first: with much to adopt, others would otherwise take us for gone meanwhile.
  const jobs = startJobs([...listJobs(deps.http), ...deps.jobs], log);
  await adoptOrphans(deps.http);
  await noteOpeningsOrLater(deps.http);
  app = createApp(deps.http);
  // Builds the sandbox's root now rather than under the first call; what is missing shows on /ready.
  void deps.http.execution.status();
  log.info({ url: publicUrl, rails: deps.http.rails.map(({ name }) => name) }, 'millicent is ready');
  process.send?.({ kind: 'ready', url: publicUrl });
  const stop = async () => {
    if (isDraining) return;
    isDraining = true;
    log.info({}, 'draining');
    await drain(server);
    await jobs.close();
    await deps.close();
    process.exit(0);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

/** Before the first payment where the rails answer at once; else the job of that name does it. */
async function noteOpeningsOrLater(deps: HttpDeps): Promise<void> {
  await noteOpenings(deps, AbortSignal.timeout(OPENINGS_MS)).catch((cause: unknown) => {
    deps.log.warn({ err: cause }, 'could not note the openings of the rails yet');
  });
}

main().catch((cause: unknown) => {
  // A mistake in the configuration is told in one line; anything else with its trace.
  console.error(cause instanceof ConfigError ? `millicent: ${cause.message}` : cause);
  process.exit(1);
});
