/** How many jails of one kind should wait, learned from how many did when they were needed. */
export type Demand = {
  /** A call took one, and `left` of them still wait. */
  took(left: number): void;
  /** A call came and none was ready. */
  missed(): void;
  /** Looks back on the time since the last look. */
  look(span: { seconds: number; refillSeconds: number; ready: number }): void;
  wanted(): number;
  /** Whether anyone has taken one since the last `looks` looks. */
  isIdle(looks: number): boolean;
};

/**
 * Grows by each miss, at most doubling between two looks; shrinks by half of what nobody ever needed. `least` is
 * what waits even when nobody comes.
 */
export function createDemand(least: number): Demand {
  let wanted = least;
  let ceiling = 2 * least + 2;
  let takenCount = 0;
  let leastReady = Number.POSITIVE_INFINITY;
  let quietLooks = 0;
  return {
    took(left) {
      takenCount += 1;
      leastReady = Math.min(leastReady, left);
    },
    missed() {
      takenCount += 1;
      leastReady = 0;
      wanted = Math.min(wanted + 1, ceiling);
    },
    look({ seconds, refillSeconds, ready }) {
      const unneeded = Math.min(leastReady, ready);
      // What comes while one is made has to find one waiting.
      const whileRefilling = Math.ceil((takenCount / seconds) * refillSeconds);
      wanted = Math.max(least, whileRefilling, wanted - Math.ceil(unneeded / 2));
      ceiling = 2 * wanted + 2;
      quietLooks = takenCount > 0 ? 0 : quietLooks + 1;
      takenCount = 0;
      leastReady = ready;
    },
    wanted: () => wanted,
    isIdle: (looks) => quietLooks >= looks,
  };
}
