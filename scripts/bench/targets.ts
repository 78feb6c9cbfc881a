import type { Ratio } from './ratios.ts';

/** The lines of the report, in its order. */
export const ROW_NAMES = [
  'paid-64',
  'paid-512',
  'paid-rate-512',
  'charges-hot',
  'charges-spread',
  'challenge-x402',
  'challenge-mppx',
  'challenge-invoice',
  'challenge-bare',
  'remote-hop',
  'remote-hop-token',
  'remote-sdk',
  'remote-sdk-token',
  'remote-sdk-each',
  'sandbox-warm',
  'sandbox-docker',
  'sandbox-docker-cold',
  'log-append',
  'log-batch',
  'log-proof',
  'log-consistency',
] as const;
export type RowName = (typeof ROW_NAMES)[number];

/** What a row says, and from where it is good. */
export type Target = {
  what: string;
  better: 'smaller' | 'larger';
  /** Beyond it the gateway is not what it promises; none where there is no promise. */
  floor?: number;
  goal?: number;
  /** Told and not judged: rates depend on what else the machine does, CPU per request hardly. */
  isTold?: true;
};

export const TARGETS: Record<RowName, Target> = {
  'paid-64': {
    what: 'CPU of a paid call by key, over a bare Hono JSON route (c=64)',
    ...{ better: 'smaller', floor: 1.6, goal: 1.25 },
  },
  'paid-512': {
    what: 'CPU of a paid call by key, over a bare Hono JSON route (c=512)',
    ...{ better: 'smaller', floor: 1.6, goal: 1.25 },
  },
  'paid-rate-512': {
    what: 'paid calls by key per second, over a bare Hono JSON route (c=512)',
    ...{ better: 'larger', floor: 0.5, goal: 0.8, isTold: true },
  },
  'charges-hot': {
    what: 'exactly-once charges per second, over the naive transaction (one key, C=512)',
    ...{ better: 'larger', floor: 40, goal: 100 },
  },
  'charges-spread': {
    what: 'exactly-once charges per second, over the naive transaction (10,000 keys, C=512)',
    ...{ better: 'larger', floor: 10, goal: 25 },
  },
  'challenge-x402': {
    what: 'CPU of a 402 by @x402/hono, over ours (c=64)',
    ...{ better: 'larger', floor: 3, goal: 4.5 },
  },
  'challenge-mppx': {
    what: 'CPU of a 402 by mppx (evm, tempo, lightning), over ours (c=64)',
    ...{ better: 'larger', floor: 10, goal: 15 },
  },
  'challenge-invoice': {
    what: 'the same, ours minting a Lightning invoice with each (c=64)',
    ...{ better: 'larger', isTold: true },
  },
  'challenge-bare': {
    what: 'CPU of our 402, over a bare Hono JSON route (c=64)',
    ...{ better: 'smaller', isTold: true },
  },
  'remote-hop': {
    what: 'CPU of a proxied call without its token, over a byte hop of Node (c=32)',
    ...{ better: 'smaller', floor: 1.15, goal: 0.9 },
  },
  'remote-hop-token': {
    what: 'the same with its token signed',
    ...{ better: 'smaller', isTold: true },
  },
  'remote-sdk': {
    what: 'CPU of a proxy of SDK objects with one client, over ours without its token (c=32)',
    ...{ better: 'larger', floor: 15, goal: 25 },
  },
  'remote-sdk-token': {
    what: 'the same, ours with its token signed',
    ...{ better: 'larger', isTold: true },
  },
  'remote-sdk-each': {
    what: 'CPU of a proxy of SDK objects with a client for each call, over ours without its token (c=32)',
    ...{ better: 'larger', isTold: true },
  },
  'sandbox-warm': {
    what: 'time of a sandboxed call that finds a jail waiting, over one that starts it',
    ...{ better: 'smaller', floor: 0.3, goal: 0.1 },
  },
  'sandbox-docker': {
    what: 'time of the same call by docker run, over ours that finds a jail waiting',
    ...{ better: 'larger', floor: 20, goal: 80 },
  },
  'sandbox-docker-cold': {
    what: 'time of the same call by docker run, over ours that starts a jail',
    ...{ better: 'larger', floor: 2, goal: 5 },
  },
  'log-append': {
    what: 'time of appending a leaf to a log of 1,000,000, committed to disk, over 10 ms',
    ...{ better: 'smaller', floor: 2, goal: 1 },
  },
  'log-batch': {
    what: 'time of appending 256 leaves to it at once, over 10 ms',
    ...{ better: 'smaller', isTold: true },
  },
  'log-proof': {
    what: 'time of proving the inclusion of one of its leaves, over 10 ms',
    ...{ better: 'smaller', floor: 2, goal: 1 },
  },
  'log-consistency': {
    what: 'time of proving that it begins with an earlier tree, over 10 ms',
    ...{ better: 'smaller', floor: 2, goal: 1 },
  },
};

/** One row as it was measured: the ratio, and what it is a ratio of. */
export type Measured = { row: RowName; ratio: Ratio; ours: string; peer: string };
export type Skipped = { row: RowName; skipped: string };
export type Finding = Measured | Skipped;

export type Verdict = 'meets the goal' | 'meets the floor' | 'MISSES THE FLOOR' | 'told';

/** Where a measured ratio stands. */
export function judge(target: Target, ratio: number): Verdict {
  if (target.isTold || target.floor === undefined || target.goal === undefined) return 'told';
  const reaches = (bound: number) => (target.better === 'smaller' ? ratio <= bound : ratio >= bound);
  if (reaches(target.goal)) return 'meets the goal';
  return reaches(target.floor) ? 'meets the floor' : 'MISSES THE FLOOR';
}
