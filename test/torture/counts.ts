/** How often each thing happened, for the table at the end. */
export type Counts = {
  add(what: string, times?: number): void;
  of(what: string): number;
  list(): [what: string, times: number][];
};

export function createCounts(): Counts {
  const counts = new Map<string, number>();
  return {
    add: (what, times = 1) => void counts.set(what, (counts.get(what) ?? 0) + times),
    of: (what) => counts.get(what) ?? 0,
    list: () => [...counts].sort(([one], [other]) => one.localeCompare(other)),
  };
}
