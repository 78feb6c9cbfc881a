import { availableParallelism } from 'node:os';
import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import type { Jail, JailSpec } from '../backend.ts';
import { type Kind, type Kinds, sum } from './kinds.ts';

export type RefillDeps = {
  kinds: Kinds;
  /** Starts a jail whose bootstrap waits. */
  start(spec: JailSpec): Promise<Jail>;
  discard(jail: Jail): void;
  memoryBytesMax: number;
  /** How many calls run now: they come first. */
  busy(): number;
  closing: AbortSignal;
  clock: Clock;
  log: Log;
};

const RETRY_MS = 1_000;
const RETRY_MS_MAX = 30_000;

/** Makes up for jails that were taken or died. The answer asks for it: after `delayMs`, and once however often. */
export function createRefill(deps: RefillDeps): (delayMs: number) => void {
  const { kinds, clock, closing, log } = deps;
  let timer: NodeJS.Timeout | undefined;

  const schedule = (delayMs: number) => {
    if (closing.aborted || timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      refill();
    }, delayMs);
  };
  closing.addEventListener('abort', () => clearTimeout(timer), { once: true });

  /** As many at once as there are processors that no call needs. */
  const refill = () => {
    const atOnce = Math.max(1, availableParallelism() - deps.busy());
    while (!closing.aborted && sum(kinds.all(), ({ starting }) => starting.size) < atOnce) {
      const kind = kinds.neediest(clock.now().getTime());
      if (kind === undefined || !kinds.makeRoom(kind, deps.memoryBytesMax)) return;
      startOne(kind);
    }
  };
  const startOne = (kind: Kind) => {
    const startedAt = clock.now().getTime();
    const starting = deps.start(kind.spec);
    kind.starting.add(starting);
    starting
      .then((jail) => {
        kind.failures = 0;
        kind.refillSeconds = (clock.now().getTime() - startedAt) / 1000;
        // A call that took it on its way has it already.
        if (kind.starting.delete(starting)) keep(kind, jail);
      })
      .catch((error: unknown) => {
        kind.starting.delete(starting);
        postpone(kind);
        if (!closing.aborted) log.warn({ err: error, kind: kind.key }, 'no jail could be made to wait');
      })
      .finally(() => schedule(0));
  };
  const keep = (kind: Kind, jail: Jail) => {
    if (closing.aborted || !kinds.has(kind)) return deps.discard(jail);
    // That a stream breaks says only that the jail ends, which its exit says as well.
    for (const stream of [jail.stdout, jail.stderr]) stream.on('error', () => {});
    kind.ready.push(jail);
    void jail.exit.then(() => {
      const place = kind.ready.indexOf(jail);
      if (place < 0) return;
      kind.ready.splice(place, 1);
      log.warn({ jail: jail.id }, 'a waiting jail died');
      postpone(kind);
      deps.discard(jail);
      schedule(RETRY_MS);
    });
  };
  /** What fails again and again is tried ever more rarely. */
  const postpone = (kind: Kind) => {
    const delayMs = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** kind.failures);
    kind.failures += 1;
    kind.retryAt = clock.now().getTime() + delayMs;
  };
  return schedule;
}
