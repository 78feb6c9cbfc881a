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
  const stripes: Entry[] = [];
  const seed = randomInt(2 ** 31);

  /** Looks at the oldest few: forgets those that are nearly full, and moves on those that are not. */
  function makeRoom(now: number): void {
    let steps = 0;
    for (const [subject, entry] of entries) {
      if (steps === SWEEP_STEPS) return;
      steps += 1;
      entries.delete(subject);
      refill(entry, policy, now);
      if (entry.isQueued || entry.missing > policy.burst * SLACK) entries.set(subject, entry);
    }
  }

  return {
    find: (subject) => entries.get(subject),
    open(subject, now) {
      if (entries.size >= subjectsMax) makeRoom(now);
      if (entries.size < subjectsMax) {
        const entry = newEntry(now);
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
  return { ...newBucket(now), pending: 0, isQueued: false };
}

/** FNV-1a from a start that nobody outside knows, so that nobody can aim at another's bucket. */
function spread(text: string, seed: number): number {
  let sum = seed ^ 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    sum = Math.imul(sum ^ text.charCodeAt(index), 0x01000193);
  }
  return sum >>> 0;
}
