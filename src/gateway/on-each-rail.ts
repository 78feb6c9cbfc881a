import type { Rail } from '../payments/index.ts';

/** Does the work of every rail at the same time, and answers how much there was: one that hangs holds up no other. */
export async function onEachRail(
  { rails }: { rails: readonly Rail[] },
  work: (rail: Rail) => Promise<number>,
): Promise<number> {
  const counts = await Promise.all(rails.map(work));
  return counts.reduce((sum, count) => sum + count, 0);
}
