/** How long to wait before a worker is started again, so that one that cannot live does not eat the machine. */
export type Restarts = {
  noteReady(worker: number): void;
  /** Milliseconds until the next start. */
  next(worker: number): number;
  /** How many starts were planned. */
  count(): number;
};

const FIRST_MS = 50;
const LONGEST_MS = 30_000;
/** Who lived for so long is not one that cannot live. */
const SOUND_MS = 60_000;

/** At once for one that had lived, then twice as long each time. `now` is in milliseconds. */
export function createRestarts(now: () => number = () => performance.now()): Restarts {
  const delays = new Map<number, number>();
  const readySince = new Map<number, number>();
  let count = 0;
  return {
    noteReady(worker) {
      readySince.set(worker, now());
    },
    next(worker) {
      const since = readySince.get(worker);
      readySince.delete(worker);
      const wasSound = since !== undefined && now() - since >= SOUND_MS;
      const delay = wasSound ? FIRST_MS : (delays.get(worker) ?? FIRST_MS);
      delays.set(worker, Math.min(2 * delay, LONGEST_MS));
      count += 1;
      return delay;
    },
    count: () => count,
  };
}
