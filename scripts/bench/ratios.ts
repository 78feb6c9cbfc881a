/** A ratio over all rounds: each round's own ratio, because a machine's pace changes between rounds. */
export type Ratio = { median: number; min: number; max: number };

/** `ours` over `peer`, round by round. */
export function compareRounds(ours: readonly number[], peer: readonly number[]): Ratio {
  if (ours.length === 0 || ours.length !== peer.length) throw new RangeError('every round measures both');
  const ratios = ours.map((value, round) => value / (peer[round] ?? Number.NaN));
  return { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2;
}
