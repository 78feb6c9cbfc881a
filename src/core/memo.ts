/** Gives back what it made for a key before, or else makes it. What it made must never be changed. */
export type Memo<V> = (key: string, make: () => V) => V;

/** Remembers what was made for `keysMax` keys; the oldest goes first, so keys may be of a stranger's choice. */
export function createMemo<V extends object>(keysMax: number): Memo<V> {
  const kept = new Map<string, V>();
  return (key, make) => {
    const known = kept.get(key);
    if (known) return known;
    const made = make();
    if (kept.size >= keysMax) forgetOldest(kept);
    kept.set(key, made);
    return made;
  };
}

/** A map remembers in which order its keys came. */
function forgetOldest(kept: Map<string, unknown>): void {
  const [oldest] = kept.keys();
  if (oldest !== undefined) kept.delete(oldest);
}

/** Numbers objects by identity, so that a memo's key can name those that something was made from. */
export function createNumbering(): (object: object) => number {
  const numbers = new WeakMap<object, number>();
  let count = 0;
  return (object) => {
    const known = numbers.get(object);
    if (known !== undefined) return known;
    count += 1;
    numbers.set(object, count);
    return count;
  };
}
