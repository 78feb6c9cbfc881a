import { hash } from 'node:crypto';
import { Problem } from '../core/problem.ts';
import { createBuckets, type Entry, SLACK } from './buckets.ts';
import { type RatePolicy, refill, take } from './token-bucket.ts';

export type LimitName = 'key' | 'payer' | 'address' | 'wrong-keys';

/** One limit and the buckets of everyone it was asked about. */
export type Limiter = {
  name: LimitName;
  policy: RatePolicy;
  /** Takes a token of the subject: the share of its bucket that is left, or minus the seconds to wait. */
  take(subject: string): number;
  /** Seconds until the subject has a token; 0 when it has one. Takes nothing. */
  waitOf(subject: string): number;
  /** What was taken for a call that another limit refused. */
  giveBack(subject: string): void;
  /** Takes a token whether there is one or not, for what is known only afterwards; the wait stays bounded. */
  owe(subject: string, waitSecondsMax: number): void;
  /** Whether something is missing from the subject's bucket. */
  isInUse(subject: string): boolean;
  /** What subjects took here and the other processes do not know yet, once it is worth telling them. */
  report(reportsMax: number): Report[];
  /** Buckets in memory; for tests and figures. */
  size(): number;
};

export type Report = {
  /** The same in every process, of one length, and not the subject itself. */
  name: string;
  /** Tokens taken since the last report, as seconds of refilling. */
  takenSeconds: number;
  /** What all processes together took and has not come back, in the same unit; the report is a part of it. */
  confirm(missingSeconds: number): void;
  /** The report did not arrive: it is made again. */
  fail(): void;
};

/** A longer quiet than between two exchanges means the database was away: what was given out then is forgiven. */
const REPORT_SECONDS_MAX = 1;

export type LimiterInput = {
  name: LimitName;
  policy: RatePolicy;
  /** Milliseconds of a clock that never goes backwards. */
  nowMs(): number;
  subjectsMax?: number;
};

/** Buckets in the memory of this process: nothing is asked of the database for a call. */
export function createLimiter({ name, policy, nowMs, subjectsMax }: LimiterInput): Limiter {
  const buckets = createBuckets(policy, subjectsMax);
  const queue: Queued[] = [];
  const reportFrom = Math.max(1, policy.burst * SLACK);

  function enqueue(subject: string, entry: Entry): void {
    // A bucket that many newcomers share is nobody's, and of no use to other processes.
    if (entry.isQueued || entry.pending < reportFrom || buckets.find(subject) !== entry) return;
    entry.isQueued = true;
    queue.push({ subject, entry });
  }

  return {
    name,
    policy,
    take(subject) {
      if (policy.perSecond === 0) return 1;
      const now = nowMs();
      const entry = buckets.find(subject) ?? buckets.open(subject, now);
      const left = take(entry, policy, now);
      if (left < 0) return left;
      entry.pending += 1;
      if (entry.pending >= reportFrom) enqueue(subject, entry);
      return left;
    },
    waitOf(subject) {
      const entry = buckets.find(subject);
      if (!entry) return 0;
      refill(entry, policy, nowMs());
      return Math.max(0, (entry.missing + 1 - policy.burst) / policy.perSecond);
    },
    owe(subject, waitSecondsMax) {
      if (policy.perSecond === 0) return;
      const now = nowMs();
      const entry = buckets.find(subject) ?? buckets.open(subject, now);
      refill(entry, policy, now);
      entry.missing = Math.min(entry.missing + 1, policy.burst + waitSecondsMax * policy.perSecond);
      entry.pending += 1;
      enqueue(subject, entry);
    },
    isInUse(subject) {
      const entry = buckets.find(subject);
      if (!entry) return false;
      refill(entry, policy, nowMs());
      return entry.missing > 0;
    },
    giveBack(subject) {
      const entry = buckets.find(subject);
      if (!entry) return;
      entry.missing = Math.max(0, entry.missing - 1);
      entry.pending = Math.max(0, entry.pending - 1);
    },
    report(reportsMax) {
      const told = queue.splice(0, reportsMax);
      return told.map((queued) => toReport({ name, policy, nowMs, queued, enqueue, queue }));
    },
    size: buckets.size,
  };
}

type Queued = { subject: string; entry: Entry };

function toReport(input: {
  name: LimitName;
  policy: RatePolicy;
  nowMs(): number;
  queued: Queued;
  queue: Queued[];
  enqueue(subject: string, entry: Entry): void;
}): Report {
  const { name, policy, nowMs, queued, queue, enqueue } = input;
  const { subject, entry } = queued;
  const taken = Math.min(entry.pending, policy.burst + policy.perSecond * REPORT_SECONDS_MAX);
  entry.pending = 0;
  return {
    name: nameBucket(name, subject),
    takenSeconds: taken / policy.perSecond,
    confirm(missingSeconds) {
      entry.isQueued = false;
      // What was taken while the report was on its way is not in it.
      entry.missing = missingSeconds * policy.perSecond + entry.pending;
      entry.atMs = nowMs();
      enqueue(subject, entry);
    },
    fail() {
      entry.pending += taken;
      queue.push(queued);
    },
  };
}

/** The refusal, with the fields of draft-ietf-httpapi-ratelimit-headers and when to come again. */
export function tooMany({ name, policy }: Pick<Limiter, 'name' | 'policy'>, waitSeconds: number): Problem {
  return new Problem('too-many-requests', {
    detail: `${WHOSE[name]}: ${policy.perSecond} a second, ${policy.burst} at once. Nothing was charged; send the same again later.`,
    retryAfterSeconds: Math.max(1, Math.ceil(waitSeconds)),
    headers: spellLimit({ name, policy }, 0, waitSeconds),
    isUncharged: true,
  });
}

const WHOSE = {
  key: 'This key calls too fast',
  payer: 'Who pays for this calls too fast',
  address: 'Too many requests come from this address',
  'wrong-keys': 'Too many keys that are none came from this address',
} as const satisfies Record<LimitName, string>;

/**
 * `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers, structured fields): the burst as quota
 * over the time it takes to refill, what is left of it, and the seconds until it is whole again.
 */
export function spellLimit(
  { name, policy }: Pick<Limiter, 'name' | 'policy'>,
  share: number,
  waitSeconds = 0,
): [string, string][] {
  const { perSecond, burst } = policy;
  const left = Math.floor(share * burst);
  const windowSeconds = Math.max(1, Math.ceil(burst / perSecond));
  const resetSeconds = Math.max(1, Math.ceil((burst - left) / perSecond + waitSeconds));
  return [
    ['ratelimit-policy', `"${name}";q=${burst};w=${windowSeconds}`],
    ['ratelimit', `"${name}";r=${left};t=${resetSeconds}`],
  ];
}

function nameBucket(name: LimitName, subject: string): string {
  return hash('sha256', `${name}\n${subject}`, 'base64url');
}
