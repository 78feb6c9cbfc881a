import type { Server } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import { createApp } from './app.ts';
import type { Config } from './config.ts';
import { closeAll } from './core/close-all.ts';
import type { Log } from './core/log.ts';
import type { Siblings } from './core/siblings.ts';
import { createDeps } from './deps.ts';
import { adoptOrphans, noteOpenings } from './gateway/index.ts';
import { type App, type DirectWay, directWay, type HttpDeps } from './http/index.ts';
import { listJobs, startJobs } from './jobs/index.ts';
import { createServer, drain } from './server.ts';

const OPENINGS_MS = 3_000;

export type ServeInput = {
  config: Config;
  log: Log;
  siblings?: Siblings;
  /** Lets connections come to the server, and says what the world calls us. They are answered from then on. */
  open(server: Server): Promise<string>;
};

export type Serving = {
  url: string;
  /** Fails no call in flight. */
  stop(): Promise<void>;
};

/** One gateway process: deps, jobs, answers, and a drain. */
export async function serve({ config, log, siblings, open }: ServeInput): Promise<Serving> {
  let app: App | undefined;
  let direct: DirectWay | undefined;
  let isDraining = false;
  const server = createServer(
    (request, env) =>
      app ? app.fetch(request, env as HttpBindings) : new Response('starting', { status: 503 }),
    {
      ...{ ...config.traffic.server, isTrustedProxy: config.isTrustedProxy },
      direct: (reply) => direct?.(reply) ?? false,
    },
  );
  const publicUrl = await open(server);
  const deps = await createDeps({
    ...{ config, log, publicUrl, isDraining: () => isDraining },
    ...(siblings && { siblings }),
  });
  // The heartbeat first: with much to adopt, others would otherwise take us for gone meanwhile.
  const jobs = startJobs([...listJobs(deps.http), ...deps.jobs], log);
  await adoptOrphans(deps.http);
  await noteOpeningsOrLater(deps.http);
  app = createApp(deps.http);
  direct = directWay(deps.http);
  // Builds the sandbox's root now rather than under the first call; what is missing shows on /ready.
  void deps.http.execution.status();
  log.info({ url: publicUrl, rails: deps.http.rails.map(({ name }) => name) }, 'millicent is ready');
  return {
    url: publicUrl,
    async stop() {
      isDraining = true;
      log.info({}, 'draining');
      await drain(server);
      await closeAll(log, [jobs.close, deps.close]);
    },
  };
}

/** Before the first payment where the rails answer at once; else the job of that name does it. */
async function noteOpeningsOrLater(deps: HttpDeps): Promise<void> {
  await noteOpenings(deps, AbortSignal.timeout(OPENINGS_MS)).catch((cause: unknown) => {
    deps.log.warn({ err: cause }, 'could not note the openings of the rails yet');
  });
}
