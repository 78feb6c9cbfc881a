/** One thing that is measured over and over, beside its peers. */
export type Variant<Sample> = {
  name: string;
  /** Before the first round, unmeasured: compilers and caches settle. */
  warm?(): Promise<unknown>;
  measure(): Promise<Sample>;
};

/** Says what is under way, for whoever waits. */
export type Progress = (step: string) => void;

/** The samples of every variant, in the order of the rounds. */
export type Samples<Sample> = {
  /** Throws what went wrong with a variant that could not be measured. */
  of(name: string): Sample[];
};

type Outcome<Sample> = { samples: Sample[]; failure?: unknown };

/**
 * Measures every variant once a round, each round in an order of its own. One that fails is not tried again, and
 * the others are measured on: rows that do not need it have their figures all the same.
 */
export async function measureRounds<Sample>(
  variants: readonly Variant<Sample>[],
  options: { rounds: number; progress: Progress },
): Promise<Samples<Sample>> {
  const outcomes = new Map<string, Outcome<Sample>>(variants.map(({ name }) => [name, { samples: [] }]));
  const attempt = async ({ name }: Variant<Sample>, step: string, act: () => Promise<unknown>) => {
    const outcome = outcomes.get(name);
    if (!outcome || 'failure' in outcome) return;
    options.progress(`${step} ${name}`);
    await act().catch((cause: unknown) => {
      options.progress(`${name} failed: ${cause instanceof Error ? cause.message : cause}`);
      outcome.failure = cause;
    });
  };
  for (const variant of variants) {
    if (variant.warm) await attempt(variant, 'warming', () => variant.warm?.() ?? Promise.resolve());
  }
  for (let round = 1; round <= options.rounds; round++) {
    for (const variant of shuffle(variants)) {
      await attempt(variant, `round ${round} of ${options.rounds}:`, async () => {
        outcomes.get(variant.name)?.samples.push(await variant.measure());
      });
    }
  }
  return {
    of(name) {
      const outcome = outcomes.get(name);
      if (!outcome) throw new RangeError(`${name} was not measured`);
      if ('failure' in outcome) throw outcome.failure;
      return outcome.samples;
    },
  };
}

function shuffle<Item>(items: readonly Item[]): Item[] {
  return items
    .map((item) => ({ item, draw: Math.random() }))
    .sort((a, b) => a.draw - b.draw)
    .map(({ item }) => item);
}
