/** What was measured over all rounds. */
export type Spread = { median: number; min: number; max: number };

/** `ours` over `peer`, round by round: each round's own ratio, because a machine's pace changes between rounds. */
export function compareRounds(ours: readonly number[], peer: readonly number[]): Spread {
  if (ours.length === 0 || ours.length !== peer.length) throw new RangeError('every round measures both');
  return spreadOf(ours.map((value, round) => value / (peer[round] ?? Number.NaN)));
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2;
}
