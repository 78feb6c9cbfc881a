/** One thing that is measured over and over, beside its peers. */
export type Variant<Sample> = { name: string; measure(): Promise<Sample> };

/** Says what is under way, for whoever waits. */
export type Progress = (step: string) => void;

/** Measures every variant once a round, each round in an order of its own, and answers the samples by name. */
export async function measureRounds<Sample>(
  variants: readonly Variant<Sample>[],
  options: { rounds: number; progress: Progress },
): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>(variants.map(({ name }) => [name, []]));
  for (let round = 1; round <= options.rounds; round++) {
    for (const variant of shuffle(variants)) {
      options.progress(`round ${round} of ${options.rounds}: ${variant.name}`);
      samples.get(variant.name)?.push(await variant.measure());
    }
  }
  return samples;
}

function shuffle<Item>(items: readonly Item[]): Item[] {
  return items
    .map((item) => ({ item, draw: Math.random() }))
    .sort((a, b) => a.draw - b.draw)
    .map(({ item }) => item);
}
