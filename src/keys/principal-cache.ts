import type { Uuid } from '../core/ids.ts';
import type { Principal } from './principal.ts';

/** A key that was found, and until when it is good at most. */
export type Known = { principal: Principal; expiresAt: Date | undefined };

type Entry = Known & { staleAt: number };

/** Keys found lately, by the hex of their hash: bounded, short-lived, the least recently used leaves first. */
export type PrincipalCache = {
  get(hash: string, now: number): Known | undefined;
  set(hash: string, known: Known, now: number): void;
  forget(keyIds: readonly Uuid[]): void;
};

export function createPrincipalCache(bounds: { entriesMax: number; ttlMs: number }): PrincipalCache {
  // A Map iterates in the order of insertion, and every use inserts anew: the first entry is the oldest.
  const entries = new Map<string, Entry>();
  return {
    get(hash, now) {
      const entry = entries.get(hash);
      if (!entry) return undefined;
      entries.delete(hash);
      // Good for longer than any entry is: the clock was set back, and nobody knows how old it is.
      if (entry.staleAt <= now || entry.staleAt > now + bounds.ttlMs) return undefined;
      entries.set(hash, entry);
      return entry;
    },
    set(hash, known, now) {
      entries.delete(hash);
      entries.set(hash, { ...known, staleAt: now + bounds.ttlMs });
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
