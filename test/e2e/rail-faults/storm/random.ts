/** A source of choices that makes the same ones from the same seed (mulberry32). */
export type Random = {
  /** From 0 up to 1. */
  next(): number;
  isTrue(chance: number): boolean;
  between(least: number, most: number): number;
  pick<T>(choices: readonly T[]): T;
  /** Another source, so that what one actor chooses does not hang on how quick the others are. */
  fork(): Random;
};

export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    isTrue: (chance) => next() < chance,
    between: (least, most) => least + Math.floor(next() * (most - least + 1)),
    pick(choices) {
      const chosen = choices[Math.floor(next() * choices.length)];
      if (chosen === undefined) throw new RangeError('there is nothing to pick from');
      return chosen;
    },
    fork: () => createRandom(Math.floor(next() * 2 ** 32)),
  };
}
