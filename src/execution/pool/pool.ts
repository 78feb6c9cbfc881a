import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import type { Backend, Capabilities, Jail, JailSpec, KillReason } from '../backend.ts';
import { awaitReady } from '../ready.ts';
import { createKinds, type Kind, sum } from './kinds.ts';
import { createRefill } from './refill.ts';

export type PoolDeps = {
  backend: Pick<Backend, 'acquire'>;
  /** What all waiting jails together may hold; 0 keeps none. */
  poolMemoryBytesMax: number;
  /** How many calls run now: they come before refilling. */
  busy(): number;
  clock: Clock;
  log: Log;
};

/** A jail whose bootstrap waits for code; `isWarm` when it was not started for this call. */
export type Taken = { jail: Jail; isWarm: boolean };

/** Jails that wait for code, one call each, so that a call need not wait for a jail. */
export type Pool = {
  /** A jail of this kind, a waiting one where there is one. Throws what the backend throws. */
  take(spec: JailSpec, signal: AbortSignal): Promise<Taken>;
  /** Always starts one. */
  start(spec: JailSpec, signal: AbortSignal): Promise<Taken>;
  /** Has jails of the default kinds wait for the runtimes that these roots are for. */
  stand(roots: Capabilities['roots']): void;
  /** A call has ended: the processor is free for what it took away. */
  refill(): void;
  /** Looks back and adapts to what came; happens by itself every few seconds. */
  adapt(): void;
  waiting(): { ready: number; starting: number; memoryBytes: number };
  /** Ends all that wait. */
  close(): Promise<void>;
};

const ADAPT_MS = 5_000;
/** Starting a process holds up everything else: a call that has just taken a jail is let alone for so long. */
const REFILL_DELAY_MS = 25;

export function createPool(deps: PoolDeps): Pool {
  const { backend, poolMemoryBytesMax: memoryBytesMax, clock, log } = deps;
  const closing = new AbortController();
  const discard = (jail: Jail, reason: KillReason = 'done') =>
    jail.kill(reason).catch((error: unknown) => {
      log.error({ err: error, jail: jail.id }, 'a waiting jail could not be removed');
    });
  const start = async (spec: JailSpec, signal: AbortSignal): Promise<Jail> => {
    const jail = await backend.acquire(spec, signal);
    return awaitReady(jail, signal).then(
      () => jail,
      async (error: unknown) => {
        await discard(jail, 'cancelled');
        throw error;
      },
    );
  };
  const startCold = async (spec: JailSpec, signal: AbortSignal) => ({
    jail: await start(spec, signal),
    isWarm: false,
  });
  const kinds = createKinds((jail) => void discard(jail));
  const refill = createRefill({
    ...{ kinds, memoryBytesMax, clock, log, busy: deps.busy, closing: closing.signal },
    start: (spec) => start(spec, closing.signal),
    discard: (jail) => void discard(jail),
  });
  let lookedAt = clock.now().getTime();
  const adapt = () => {
    const now = clock.now().getTime();
    kinds.adapt(Math.max(1, now - lookedAt) / 1000);
    lookedAt = now;
    refill(0);
  };
  const timer = setInterval(adapt, ADAPT_MS).unref();
  return {
    async take(spec, signal) {
      if (memoryBytesMax === 0 || closing.signal.aborted || spec.egressSocket !== undefined)
        return startCold(spec, signal);
      const kind = kinds.of(spec);
      const jail = takeReady(kind) ?? (await takeStarting(kind, signal, discard));
      refill(REFILL_DELAY_MS);
      return jail === undefined ? startCold(spec, signal) : { jail, isWarm: true };
    },
    start: startCold,
    stand(roots) {
      if (memoryBytesMax === 0) return;
      const isNew = (['python', 'node'] as const)
        .filter((runtime) => roots[runtime] !== undefined)
        .map((runtime) => kinds.stand(runtime));
      if (isNew.includes(true)) refill(0);
    },
    refill: () => refill(0),
    adapt,
    waiting: () => ({
      ready: sum(kinds.all(), ({ ready }) => ready.length),
      starting: sum(kinds.all(), ({ starting }) => starting.size),
      memoryBytes: kinds.memoryBytes(),
    }),
    async close() {
      closing.abort(new Error('the gateway is shutting down'));
      clearInterval(timer);
      const waiting = kinds.all().flatMap(({ ready }) => ready.splice(0));
      const starting = kinds.all().flatMap((kind) => [...kind.starting]);
      await Promise.all(waiting.map((jail) => discard(jail, 'shutdown')));
      await Promise.allSettled(starting);
    },
  };
}

function takeReady(kind: Kind): Jail | undefined {
  const jail = kind.ready.pop();
  if (jail === undefined) kind.demand.missed();
  else kind.demand.took(kind.ready.length);
  return jail;
}

/** One that is on its way to wait is here sooner than one that is yet to start. */
async function takeStarting(
  kind: Kind,
  signal: AbortSignal,
  discard: (jail: Jail, reason: KillReason) => void,
): Promise<Jail | undefined> {
  const [starting] = kind.starting;
  if (starting === undefined) return undefined;
  kind.starting.delete(starting);
  return new Promise((resolve, reject) => {
    const abort = () => {
      starting.then((jail) => discard(jail, 'cancelled')).catch(() => {});
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    starting
      // Why it could not start is in the log; the call starts one of its own, and hears why that cannot.
      .then(resolve, () => resolve(undefined))
      .finally(() => signal.removeEventListener('abort', abort));
    if (signal.aborted) abort();
  });
}
