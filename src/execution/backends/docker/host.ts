import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import type { Jail, JailSpec } from '../../backend.ts';
import type { Runtime } from './container-options.ts';
import type { Engine } from './engine.ts';
import { createHealth, type State } from './health.ts';
import type { RootImage } from './images.ts';
import { openJail } from './open-jail.ts';
import { type Prepared, type PrepareInput, prepareHost } from './prepare.ts';
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

export function createHost(deps: HostDeps): Host {
  const { engine, ownerId, label, clock, log, closing } = deps;
  const inUse = new Set<string>();
  const jails = new Map<string, Jail>();
  const openings = new Set<Promise<Jail>>();
  const health = createHealth<Prepared>({ label, name: engine.name, clock, log });
  const { doubt, fail } = health;
  let isNew = true;
  let looking: Promise<Attempt> | undefined;
  let lease: Jail | undefined;

  const open: PrepareInput['open'] = (prepared, order, signal) => {
    const opening = openJail({ ...deps, ...prepared, inUse, jails, doubt, fail }, order, signal);
    openings.add(opening);
    const forget = () => openings.delete(opening);
    opening.then(forget, forget);
    return opening;
  };
  const onLeaseEnd = (ended: Jail) => {
    const isMissed = ended === lease && health.state().kind === 'ready' && !closing.aborted;
    if (isMissed) doubt('its lease ended');
  };
  const prepare = async (): Promise<void> => {
    try {
      const outcome = await prepareHost({ ...deps, inUse, open, onLeaseEnd });
      if (outcome.kind === 'unfit') return health.quarantine(new Error(outcome.why));
      // Only now: without a lease other gateways would sweep the jails that still run.
      void lease?.kill('done').catch(() => undefined);
      lease = outcome.prepared.lease;
      health.recover(outcome.prepared);
    } catch (error) {
      health.quarantine(error);
    }
  };
  const describe = () => toAttempt(health.state(), clock.now());
  return {
    name: engine.name,
    isLocal: engine.isLocal,
    isReady: () => health.state().kind === 'ready',
    isNew: () => isNew,
    load: () => inUse.size / countProcessors(health.state()),
    async look() {
      closing.throwIfAborted();
      const attempt = describe();
      if (attempt.kind === 'ready' || attempt.retryAfterMs > 0) return attempt;
      looking ??= prepare().then(() => {
        looking = undefined;
        isNew = false;
        return describe();
      });
      return looking;
    },
    async start(spec, signal) {
      const state = health.state();
      if (state.kind !== 'ready') throw new Error(`${engine.name} is not ready`);
      return open(state.value, { spec, labels: {} }, signal);
    },
    fail,
    sweep: () => sweepEngine({ engine, ownerId, inUse }),
    async close() {
      await looking;
      await Promise.allSettled(openings);
      await Promise.allSettled([...jails.values()].map((jail) => jail.kill('shutdown')));
      engine.close();
    },
  };
}

function toAttempt(state: State<Prepared>, now: Date): Attempt {
  if (state.kind === 'ready') return { kind: 'ready', images: state.value.images.current };
  return {
    kind: 'unavailable',
    detail: state.detail,
    retryAfterMs: Math.max(0, state.until - now.getTime()),
  };
}

function countProcessors(state: State<Prepared>): number {
  return state.kind === 'ready' ? state.value.facts.processors : 1;
}
