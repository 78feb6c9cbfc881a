import type { Clock } from '../core/clock.ts';

export type CacheBounds<V> = {
  /** What all remembered values may weigh together. */
  weightMax: number;
  weigh(value: V): number;
  /** How long a value is good; `Infinity` for what never changes. */
  ttlMs: number;
};

/** Values by key, loaded once however many ask at the same time; the least recently used leave first. */
export type Cache<V> = {
  /** A miss is not remembered, and neither is a load that failed. */
  get(key: string, load: () => Promise<V | undefined>): Promise<V | undefined>;
  /** Drops the chosen values, and does not remember what is being read at this moment. */
  forget(isChosen: (value: V) => boolean): void;
};

type Entry<V> = { value: V; weight: number; staleAt: number };

export function createCache<V>(bounds: CacheBounds<V>, clock: Clock): Cache<V> {
  // A Map iterates in the order of insertion, and every use inserts anew: the first entry is the oldest.
  const entries = new Map<string, Entry<V>>();
  const loads = new Map<string, Promise<V | undefined>>();
  let weight = 0;

  function drop(key: string): void {
    weight -= entries.get(key)?.weight ?? 0;
    entries.delete(key);
  }

  function remember(key: string, value: V): void {
    drop(key);
    const entry = { value, weight: bounds.weigh(value), staleAt: clock.now().getTime() + bounds.ttlMs };
    entries.set(key, entry);
    weight += entry.weight;
    for (const oldest of entries.keys()) {
      if (weight <= bounds.weightMax) break;
      drop(oldest);
    }
  }

  function find(key: string): Entry<V> | undefined {
    const entry = entries.get(key);
    if (!entry) return undefined;
    if (entry.staleAt <= clock.now().getTime()) {
      drop(key);
      return undefined;
    }
    entries.delete(key);
    entries.set(key, entry);
    return entry;
  }

  return {
    get(key, load) {
      const entry = find(key);
      if (entry) return Promise.resolve(entry.value);
      const running = loads.get(key);
      if (running) return running;
      const loading = load()
        .then((value) => {
          // `forget` clears `loads`: what was read before it must not be remembered after it.
          if (value !== undefined && loads.get(key) === loading) remember(key, value);
          return value;
        })
        .finally(() => {
          if (loads.get(key) === loading) loads.delete(key);
        });
      loads.set(key, loading);
      return loading;
    },
    forget(isChosen) {
      for (const [key, { value }] of entries) {
        if (isChosen(value)) drop(key);
      }
      loads.clear();
    },
  };
}
