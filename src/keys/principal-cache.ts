import type { Uuid } from '../core/ids.ts';
import type { Principal } from './principal.ts';

/** A key that was found, and until when it is good at most. */
export type Known = { principal: Principal; expiresAt: Date | undefined };

type Entry = Known & { staleAt: number };

/** Keys found lately, by the hex of their hash: bounded, short-lived, the one that was found first leaves first. */
export type PrincipalCache = {
  get(hash: string, now: number): Known | undefined;
  set(hash: string, known: Known, now: number): void;
  forget(keyIds: readonly Uuid[]): void;
};

export function createPrincipalCache(bounds: { entriesMax: number; ttlMs: number }): PrincipalCache {
  // A Map iterates in the order of insertion: the first entry is the oldest. A use moves none, as that costs more than
  // all the rest of finding a key, and each is read anew within a moment however often it is used.
  const entries = new Map<string, Entry>();
  return {
    get(hash, now) {
      const entry = entries.get(hash);
      if (!entry) return undefined;
      // Good for longer than any entry is: the clock was set back, and nobody knows how old it is.
      if (entry.staleAt > now && entry.staleAt <= now + bounds.ttlMs) return entry;
      entries.delete(hash);
      return undefined;
    },
    set(hash, { principal, expiresAt }, now) {
      entries.delete(hash);
      // By name: entries that were spread look different to V8 each time, and what reads them is compiled anew.
      entries.set(hash, { principal, expiresAt, staleAt: now + bounds.ttlMs });
      for (const oldest of entries.keys()) {
        if (entries.size <= bounds.entriesMax) break;
        entries.delete(oldest);
      }
    },
    forget(keyIds) {
      const gone = new Set(keyIds);
      for (const [hash, entry] of entries) {
        if (gone.has(entry.principal.keyId)) entries.delete(hash);
      }
    },
  };
}
