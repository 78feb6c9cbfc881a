import { randomInt } from 'node:crypto';
import { type Bucket, newBucket, type RatePolicy, refill } from './token-bucket.ts';

/** One subject's bucket, and what of it the other processes were not told yet. */
export type Entry = Bucket & {
  pending: number;
  /** Waits for the next report, or is in one. */
  isQueued: boolean;
};

/** The buckets of one limit: bounded in number without anyone being able to have his own forgotten. */
export type Buckets = {
  find(subject: string): Entry | undefined;
  /** The subject's own bucket, or one that it shares while there is no room. */
  open(subject: string, now: number): Entry;
  size(): number;
};

/** A share of the bucket that is too little to speak of: untold to others, and forgotten when memory is short. */
export const SLACK = 1 / 16;
const SUBJECTS_MAX = 32_768;
const SWEEP_STEPS = 8;
const STRIPES = 256;

/**
 * What is forgotten for a newcomer is nearly full, so that a flood from many addresses gains nobody more than a
 * sixteenth of a bucket. When nothing nearly full is found, newcomers share a few buckets until others refilled.
 */
export function createBuckets(policy: RatePolicy, subjectsMax: number = SUBJECTS_MAX): Buckets {
  const entries = new Map<string, Entry>();
  // The same subjects in a ring: to find out which a `Map` holds longest costs more with each that left it.
  const ring: string[] = [];
  let hand = 0;
  const stripes: Entry[] = [];
  const seed = randomInt(2 ** 31);

  /** A place of the ring whose bucket was nearly full and is forgotten now. Looks at a few only. */
  function makeRoom(now: number): number | undefined {
    for (let step = 0; step < SWEEP_STEPS; step += 1) {
      const place = hand;
      hand = (hand + 1) % ring.length;
      const subject = ring[place] ?? '';
      const entry = entries.get(subject);
      if (entry) refill(entry, policy, now);
      if (entry?.isQueued || (entry && entry.missing > policy.burst * SLACK)) continue;
      entries.delete(subject);
      return place;
    }
    return undefined;
  }

  return {
    find: (subject) => entries.get(subject),
    open(subject, now) {
      const place = ring.length < subjectsMax ? ring.length : makeRoom(now);
      if (place !== undefined) {
        const entry = newEntry(now);
        ring[place] = subject;
        entries.set(subject, entry);
        return entry;
      }
      const stripe = spread(subject, seed) % STRIPES;
      stripes[stripe] ??= newEntry(now);
      return stripes[stripe];
    },
    size: () => entries.size,
  };
}

function newEntry(now: number): Entry {
  const { missing, atMs } = newBucket(now);
  return { missing, atMs, pending: 0, isQueued: false };
}

/** FNV-1a from a start that nobody outside knows, so that nobody can aim at another's bucket. */
function spread(text: string, seed: number): number {
  let sum = seed ^ 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    sum = Math.imul(sum ^ text.charCodeAt(index), 0x01000193);
  }
  return sum >>> 0;
}
