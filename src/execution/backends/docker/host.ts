import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import { Problem } from '../../../core/problem.ts';
import type { Jail, JailSpec } from '../../backend.ts';
import { rootKindOf } from '../../policy/roots/build-root.ts';
import type { Runtime } from './container-options.ts';
import { containerOptions } from './container-options.ts';
import { cleanupLimit, type Engine, statusOf } from './engine.ts';
import type { RootImage } from './images.ts';
import { removeContainer, startJail } from './jail.ts';
import { OWNER_LABEL } from './labels.ts';
import { type Prepared, prepareHost } from './prepare.ts';
import type { RootArchives } from './root-archives.ts';
import { sweepEngine } from './sweep.ts';

export type HostDeps = {
  engine: Engine;
  /** Its name in public. */
  label: string;
  /** Of the backend, new with each start of a gateway. */
  ownerId: string;
  runtime: Runtime;
  archives: RootArchives;
  seccomp: string;
  clock: Clock;
  log: Log;
  /** Once it is aborted nothing starts any more. */
  closing: AbortSignal;
};

export type Attempt =
  | { kind: 'ready'; images: ReadonlyMap<string, RootImage> }
  /** `detail` is one sentence, and public. */
  | { kind: 'unavailable'; detail: string; retryAfterMs: number };

/** One engine, with what is known about it. */
export type Host = {
  readonly name: string;
  readonly isLocal: boolean;
  isReady(): boolean;
  /** Whether it was never looked at. */
  isNew(): boolean;
  /** Jails for each processor. */
  load(): number;
  /** Whether jails can be started there: the last success, else a new attempt unless the last was a moment ago. */
  look(): Promise<Attempt>;
  /** Only on a host that is ready. */
  start(spec: JailSpec, signal: AbortSignal): Promise<Jail>;
  /** Something failed there: nothing more is started until it has been looked at again. */
  fail(error: unknown): void;
  sweep(): Promise<number>;
  close(): Promise<void>;
};

type State =
  | { kind: 'ready'; prepared: Prepared }
  /** Quarantined, or never looked at. */
  | { kind: 'resting'; until: number; detail: string };

const REST_MS_FIRST = 1_000;
const REST_MS_MAX = 60_000;

export function createHost(deps: HostDeps): Host {
  const { engine, ownerId, clock, log, closing } = deps;
  const inUse = new Set<string>();
  const jails = new Map<string, Jail>();
  const openings = new Set<Promise<Jail>>();
  let state: State = { kind: 'resting', until: 0, detail: '' };
  let failures = 0;
  let isNew = true;
  let looking: Promise<Attempt> | undefined;
  let lease: Jail | undefined;

  const rest = (detail: string, ms: number): Attempt => {
    state = { kind: 'resting', until: clock.now().getTime() + ms, detail };
    return { kind: 'unavailable', detail, retryAfterMs: ms };
  };
  const quarantine = (error: unknown): Attempt => {
    const ms = Math.min(REST_MS_FIRST * 2 ** failures, REST_MS_MAX);
    failures += 1;
    log.warn({ err: error, engine: engine.name, forMs: ms }, 'a Docker host is quarantined');
    return rest(explain(deps.label, error), ms);
  };
  const doubt = (why: string) => {
    log.info({ engine: engine.name, why }, 'a Docker host is looked at again');
    rest('The Docker host is being looked at again.', 0);
  };
  /** Many jails may tell of one failure. */
  const fail = (error: unknown) => {
    if (state.kind === 'resting') return;
    // What was removed from under us is brought again; no rest helps that.
    if (statusOf(error) === 404) doubt('something of ours was removed from it');
    else quarantine(error);
  };
  const open = (prepared: Pick<Prepared, 'images' | 'layers'>, order: Order, signal: AbortSignal) => {
    const opening = openJail({ ...deps, ...prepared, inUse, jails, doubt, fail }, order, signal);
    openings.add(opening);
    void opening.then(
      () => openings.delete(opening),
      () => openings.delete(opening),
    );
    return opening;
  };

  const prepare = async (): Promise<Attempt> => {
    try {
      const outcome = await prepareHost({
        ...deps,
        open,
        onLeaseEnd: (ended) => {
          if (ended === lease && state.kind === 'ready' && !closing.aborted) doubt('its lease ended');
        },
      });
      if (outcome.kind === 'unfit') return quarantine(new Error(outcome.why));
      state = { kind: 'ready', prepared: outcome.prepared };
      failures = 0;
      // Only now: without a lease other gateways would sweep the jails that still run.
      void lease?.kill('done').catch(() => undefined);
      lease = outcome.prepared.lease;
      log.info({ engine: engine.name }, 'a Docker host is ready');
      return describe(outcome.prepared);
    } catch (error) {
      return quarantine(error);
    }
  };
  return {
    name: engine.name,
    isLocal: engine.isLocal,
    isReady: () => state.kind === 'ready',
    isNew: () => isNew,
    load: () => inUse.size / (state.kind === 'ready' ? state.prepared.facts.processors : 1),
    async look() {
      closing.throwIfAborted();
      if (state.kind === 'ready') return describe(state.prepared);
      const retryAfterMs = state.until - clock.now().getTime();
      if (retryAfterMs > 0) return { kind: 'unavailable', detail: state.detail, retryAfterMs };
      looking ??= prepare().finally(() => {
        looking = undefined;
        isNew = false;
      });
      return looking;
    },
    async start(spec, signal) {
      if (state.kind !== 'ready') throw new Error(`${engine.name} is not ready`);
      return open(state.prepared, { spec, labels: {} }, signal);
    },
    fail,
    sweep: () => sweepEngine({ engine, ownerId, inUse }),
    async close() {
      await looking?.catch(() => undefined);
      await Promise.allSettled(openings);
      await Promise.allSettled([...jails.values()].map((jail) => jail.kill('shutdown')));
      engine.close();
    },
  };
}

function describe({ images }: Prepared): Attempt {
  return { kind: 'ready', images: images.current };
}

/** One public sentence: where engines are, and what they say of their machines, is for the log. */
function explain(label: string, error: unknown): string {
  return `${label} cannot run jails: ${findReason(error)}`;
}

function findReason(error: unknown): string {
  if (!(error instanceof Error)) return 'it failed.';
  const status = statusOf(error);
  if (status !== undefined) return `it answered with HTTP ${status}, about which the log says more.`;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  if (code === 'ABORT_ERR' || error.name === 'TimeoutError') return 'it did not answer in time.';
  if (code !== undefined) return `it cannot be reached (${code}).`;
  return error.message.replace(/\s+/g, ' ').trim().slice(0, 300);
}

/** A jail that is wanted, and what else its container is marked with. */
export type Order = { spec: JailSpec; labels: Readonly<Record<string, string>> };

type OpenParts = HostDeps &
  Pick<Prepared, 'images' | 'layers'> & {
    inUse: Set<string>;
    jails: Map<string, Jail>;
    doubt(why: string): void;
    fail(error: unknown): void;
  };

/** Creates the container, sees to its layer, and starts it; whatever fails, nothing of it stays. */
async function openJail(parts: OpenParts, { spec, labels }: Order, signal: AbortSignal): Promise<Jail> {
  const { engine, ownerId, images, layers, inUse, jails, log, closing } = parts;
  closing.throwIfAborted();
  const image = images.choose(rootKindOf(spec.runtime), spec.rootSha256);
  if (image === undefined) throw notOffered(spec);
  const id = `millicent-${ownerId}-${randomBytes(8).toString('hex')}`;
  const layerVolume = spec.layer === undefined ? undefined : layers.nameOf(spec.layer);
  inUse.add(id);
  try {
    const container = await engine.docker.createContainer({
      ...containerOptions({
        ...parts,
        name: id,
        labels: { [OWNER_LABEL]: ownerId, ...labels },
        image,
        spec,
        layerVolume,
      }),
      // Not ended with the caller: an engine that is asked no more may still create it, and nobody would remove it.
      abortSignal: cleanupLimit(),
    });
    closing.throwIfAborted();
    signal.throwIfAborted();
    if (spec.layer !== undefined && !(await layers.isWhole(container, spec.layer))) {
      await layers.fill(spec.layer, signal);
    }
    const jail = await startJail(
      {
        ...{ container, id, log },
        onGone: (exit) => {
          jails.delete(id);
          inUse.delete(id);
          if (!exit.isBackendFailure) return;
          if (exit.code === null && exit.signal === null) parts.fail(new Error('it stopped answering.'));
          else parts.doubt('a jail ended before its bootstrap ran');
        },
      },
      signal,
    );
    jails.set(id, jail);
    return jail;
  } catch (error) {
    // A later sweep finds what an engine that does not answer keeps.
    await removeContainer(engine.docker.getContainer(id)).catch(() => undefined);
    inUse.delete(id);
    throw error;
  }
}

function notOffered({ runtime }: JailSpec): Problem {
  return new Problem('unavailable', {
    detail: `The sandbox runs no ${runtime === 'node' ? 'Node' : 'Python'} on this machine.`,
    retryAfterSeconds: 60,
    isUncharged: true,
  });
}
