import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import { InvariantError } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import { Problem } from '../../../core/problem.ts';
import type { Backend, Capabilities, Jail, Runtime as ToolRuntime } from '../../backend.ts';
import { spellDockerProfile } from '../../policy/docker-profile.ts';
import { type RootPrograms, rootKindOf } from '../../policy/roots/build-root.ts';
import { orAbort } from './abort.ts';
import type { Runtime } from './container-options.ts';
import { type DockerHost, openEngine } from './engine.ts';
import { type Attempt, createHost, type Host } from './host.ts';
import { createRootArchives } from './root-archives.ts';

export type DockerBackendDeps = {
  /** At least one. */
  hosts: readonly DockerHost[];
  runtime?: Runtime;
  /** Where roots are built on their way to the engines. */
  workDir: string;
  /** Paths of programs that are not where Debian puts them. */
  programs?: Partial<RootPrograms>;
  clock: Clock;
  log: Log;
};

/** Between looks at every engine: what is ready is swept, what failed is tried again. */
const ROUND_MS = 30_000;

/**
 * Jails that are containers of one or more Docker engines, spoken to by their API. An engine that does not isolate,
 * or stops answering, gets none; without any engine nothing starts.
 */
export function createDockerBackend(deps: DockerBackendDeps): Backend {
  const { log, runtime = 'runc' } = deps;
  const ownerId = randomBytes(8).toString('hex');
  const closing = new AbortController();
  const archives = createRootArchives(deps);
  const seccomp = spellDockerProfile(process.arch === 'arm64' ? 'arm64' : 'x64');
  const hosts = deps.hosts.map((host, index) =>
    createHost({
      ...deps,
      ...{ runtime, ownerId, archives, seccomp },
      label:
        deps.hosts.length === 1 ? 'The Docker host' : `The Docker host ${index + 1} of ${deps.hosts.length}`,
      engine: openEngine(host),
      closing: closing.signal,
    }),
  );
  const egress = hosts.every(({ isLocal }) => isLocal) ? 'proxy' : 'none';
  const rounds = startRounds(hosts, log);

  return {
    name: 'docker',
    async status() {
      rounds.begin();
      const attempts = await lookAtHosts(hosts);
      const ready = attempts.filter((attempt) => attempt.kind === 'ready');
      if (ready.length === 0) return { kind: 'unavailable', detail: describeFailure(attempts) };
      const isolation = runtime === 'runsc' ? 'gvisor' : 'namespaces';
      return {
        kind: 'ready',
        capabilities: { isolation, memory: 'cgroup', pids: true, egress, roots: describeRoots(ready) },
      };
    },
    async acquire(spec, signal) {
      rounds.begin();
      if (spec.egressSocket !== undefined && egress === 'none')
        throw unavailable('The sandbox gives no way out.');
      // Each host may fail once, and once more because something of ours was removed from it.
      for (let attemptsLeft = 2 * hosts.length; ; attemptsLeft -= 1) {
        const host = await pickHost(hosts, closing.signal, signal);
        try {
          const starting = host.start(spec, signal).then((jail) => givenUp(jail, signal, closing.signal));
          return await orAbort(starting, signal);
        } catch (error) {
          closing.signal.throwIfAborted();
          signal.throwIfAborted();
          if (error instanceof Problem || error instanceof InvariantError) throw error;
          host.fail(error);
          if (attemptsLeft <= 1) throw unavailable('The sandbox could not be prepared.', error);
        }
      }
    },
    async sweep() {
      const counts = await Promise.all(
        hosts.map((host) =>
          host.sweep().catch((error: unknown) => {
            log.warn({ err: error, engine: host.name }, 'a Docker host could not be swept');
            return 0;
          }),
        ),
      );
      return counts.reduce((sum, count) => sum + count, 0);
    },
    async close() {
      closing.abort(unavailable('The gateway is shutting down.'));
      rounds.end();
      await Promise.all(hosts.map((host) => host.close()));
    },
  };
}

/** Every call asks: as long as a host is ready, nobody waits for one that failed, only for those never looked at. */
async function lookAtHosts(hosts: readonly Host[]): Promise<Attempt[]> {
  const isAnyReady = hosts.some((host) => host.isReady());
  const looks = hosts.map((host) => {
    const isAwaited = !isAnyReady || host.isReady() || host.isNew();
    const look = host.look();
    if (!isAwaited) look.catch(() => undefined);
    return isAwaited ? [look] : [];
  });
  return Promise.all(looks.flat());
}

/** A jail that came when nobody wants it any more is killed. */
async function givenUp(jail: Jail, ...signals: AbortSignal[]): Promise<Jail> {
  if (signals.some(({ aborted }) => aborted)) await jail.kill('cancelled');
  for (const signal of signals) signal.throwIfAborted();
  return jail;
}

/** The least loaded host that is ready; without one, the first that becomes it. */
async function pickHost(hosts: readonly Host[], closing: AbortSignal, signal: AbortSignal): Promise<Host> {
  closing.throwIfAborted();
  const looks = hosts.map(async (host) => ({ host, attempt: await host.look() }));
  const ready = hosts.filter((host) => host.isReady()).sort((a, b) => a.load() - b.load());
  if (ready[0] !== undefined) {
    // Those that are due are looked at meanwhile; nobody waits for them.
    for (const look of looks) look.catch(() => undefined);
    return ready[0];
  }
  const becomesReady = looks.map(async (look) => {
    const { host, attempt } = await look;
    if (attempt.kind === 'unavailable') throw new Error(attempt.detail);
    return host;
  });
  try {
    return await orAbort(Promise.any(becomesReady), signal);
  } catch (error) {
    signal.throwIfAborted();
    closing.throwIfAborted();
    const attempts = (await Promise.all(looks)).map(({ attempt }) => attempt);
    throw unavailable(describeFailure(attempts), error, retryAfterSeconds(attempts));
  }
}

function describeFailure(attempts: readonly Attempt[]): string {
  const failed = attempts.find((attempt) => attempt.kind === 'unavailable');
  return failed?.detail ?? 'No Docker host is configured.';
}

const RETRY_AFTER_SECONDS = 5;

function retryAfterSeconds(attempts: readonly Attempt[]): number {
  const waits = attempts.flatMap((attempt) => (attempt.kind === 'unavailable' ? [attempt.retryAfterMs] : []));
  return Math.max(1, Math.ceil(Math.min(...waits, RETRY_AFTER_SECONDS * 1000) / 1000));
}

/** What every engine that is ready can run. */
function describeRoots(ready: readonly Extract<Attempt, { kind: 'ready' }>[]): Capabilities['roots'] {
  const runtimes: ToolRuntime[] = ['python', 'node', 'elf'];
  return Object.fromEntries(
    runtimes.flatMap((runtime) => {
      const images = ready.map((attempt) => attempt.images.get(rootKindOf(runtime)));
      const [image] = images;
      if (image === undefined || images.includes(undefined)) return [];
      return [[runtime, { version: image.version, sha256: image.sha256 }]];
    }),
  );
}

/** Every so often, as long as the backend is used. */
function startRounds(hosts: readonly Host[], log: Log): { begin(): void; end(): void } {
  let timer: NodeJS.Timeout | undefined;
  let isEnded = false;
  const round = async (host: Host) => {
    if ((await host.look()).kind === 'unavailable') return;
    const count = await host.sweep().catch((error: unknown) => {
      host.fail(error);
      return 0;
    });
    if (count > 0)
      log.info({ engine: host.name, count }, 'containers of gateways that are gone were removed');
  };
  return {
    begin() {
      if (timer !== undefined || isEnded) return;
      timer = setInterval(() => {
        for (const host of hosts) void round(host).catch(() => undefined);
      }, ROUND_MS);
      timer.unref();
    },
    end() {
      isEnded = true;
      clearInterval(timer);
    },
  };
}

function unavailable(detail: string, cause?: unknown, retryAfterSeconds = RETRY_AFTER_SECONDS): Problem {
  return new Problem('unavailable', { detail, cause, retryAfterSeconds, isUncharged: true });
}
