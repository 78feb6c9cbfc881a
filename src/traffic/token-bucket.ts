/** How fast a subject may call: `perSecond` for good, and `burst` at once. `perSecond` 0 is no limit. */
export type RatePolicy = { perSecond: number; burst: number };

/** One subject's bucket, kept as what is missing from a full one: an absent bucket is a full one. */
export type Bucket = {
  /** Tokens missing as of `atMs`; more than `burst` once other processes are known to have given out too many. */
  missing: number;
  atMs: number;
};

export function newBucket(nowMs: number): Bucket {
  return { missing: 0, atMs: nowMs };
}

/** Lets come back what has come back by now. A clock that went backwards gives nothing. */
export function refill(bucket: Bucket, { perSecond }: RatePolicy, nowMs: number): void {
  if (nowMs <= bucket.atMs) return;
  const left = bucket.missing - ((nowMs - bucket.atMs) * perSecond) / 1000;
  bucket.missing = left > 0 ? left : 0;
  bucket.atMs = nowMs;
}

/**
 * Takes one token. One number tells all, as nothing may be allocated for each call: the share of the bucket that
 * is left (0 to 1), or minus the seconds until there is a token, when there is none.
 */
export function take(bucket: Bucket, policy: RatePolicy, nowMs: number): number {
  refill(bucket, policy, nowMs);
  const after = bucket.missing + 1;
  if (after > policy.burst) return (policy.burst - after) / policy.perSecond;
  bucket.missing = after;
  return 1 - after / policy.burst;
}
