import type { Spread } from './ratios.ts';

/** The lines of the report, in its order. */
export const ROW_NAMES = [
  'paid-64',
  'paid-512',
  'paid-rate-512',
  'paid-commit-64',
  'paid-commit-512',
  'paid-do',
  'crypto-share',
  'crypto-share-receipt',
  'crypto-share-402',
  'workers-1',
  'workers-2',
  'workers-4',
  'memory-1m',
  'bytes-per-call',
  'start-up',
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

/** What a figure is counted in; a ratio when nothing else is said. */
export type Unit = 'x' | '%' | 's' | 'bytes';

/** What a row says, and from where it is good. */
export type Target = {
  what: string;
  unit?: Unit;
  better: 'smaller' | 'larger';
  /** Beyond it the gateway is not what it promises; none where there is no promise. */
  floor?: number;
  goal?: number;
  /** Told and not judged. */
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
    ...{ better: 'larger', floor: 0.5, goal: 0.8 },
  },
  'paid-commit-64': {
    what: 'CPU of a paid call by key, over a Hono route that answers after a commit it shares (c=64)',
    ...{ better: 'smaller', isTold: true },
  },
  'paid-commit-512': {
    what: 'the same (c=512)',
    ...{ better: 'smaller', isTold: true },
  },
  'paid-do': {
    what: 'paid calls by key per second, over a Worker with one Durable Object in miniflare (c=512)',
    ...{ better: 'larger', floor: 8, goal: 20 },
  },
  'crypto-share': {
    what: 'hashes, signatures and MACs: share of the CPU of a paid call by key (c=64)',
    ...{ unit: '%', better: 'smaller', floor: 25, goal: 10 },
  },
  'crypto-share-receipt': {
    what: 'the same where each answer carries its receipt as a JWS (`Prefer: receipt`)',
    ...{ unit: '%', better: 'smaller', isTold: true },
  },
  'crypto-share-402': {
    what: 'the same of a 402 with every wire',
    ...{ unit: '%', better: 'smaller', isTold: true },
  },
  'workers-1': {
    what: 'paid calls by key per second of one process, 32 keys (c=64), over itself',
    ...{ better: 'larger', isTold: true },
  },
  'workers-2': {
    what: 'the same with GATEWAY_WORKERS=2, over one process',
    ...{ better: 'larger', isTold: true },
  },
  'workers-4': {
    what: 'the same with GATEWAY_WORKERS=4, over one process',
    ...{ better: 'larger', isTold: true },
  },
  'memory-1m': {
    what: 'resident memory of the gateway after 1,000,000 paid calls, over after 10,000',
    ...{ better: 'smaller', floor: 1.3, goal: 1.05 },
  },
  'bytes-per-call': {
    what: 'bytes on disk for each paid call by key: tables and indexes, after VACUUM',
    ...{ unit: 'bytes', better: 'smaller', isTold: true },
  },
  'start-up': {
    what: '`npm start` to ready with the embedded database, second start',
    ...{ unit: 's', better: 'smaller', floor: 5, goal: 2 },
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

/** One row as it was measured: the figure, and what it came from. */
export type Measured = { row: RowName; measured: Spread; ours: string; peer: string };
/** Left out because of what the machine lacks. */
export type Skipped = { row: RowName; skipped: string };
/** Not measured because something went wrong: the run fails. */
export type Failed = { row: RowName; failed: string };
export type Finding = Measured | Skipped | Failed;

export type Verdict =
  | 'meets the goal'
  | 'meets the floor'
  | 'MISSES THE FLOOR'
  | 'told'
  | 'skipped'
  | 'FAILED';

/** Where a figure stands. */
export function judge(target: Target, figure: number): Verdict {
  if (target.isTold || target.floor === undefined || target.goal === undefined) return 'told';
  const reaches = (bound: number) => (target.better === 'smaller' ? figure <= bound : figure >= bound);
  if (reaches(target.goal)) return 'meets the goal';
  return reaches(target.floor) ? 'meets the floor' : 'MISSES THE FLOOR';
}

export function verdictOf(finding: Finding): Verdict {
  if ('skipped' in finding) return 'skipped';
  if ('failed' in finding) return 'FAILED';
  return judge(TARGETS[finding.row], finding.measured.median);
}

/** Finds each row by itself: what goes wrong with one is its own finding and hides no other. */
export function findEach<Row extends RowName>(
  rows: readonly Row[],
  find: (row: Row) => Omit<Measured, 'row'> | Omit<Skipped, 'row'>,
): Finding[] {
  return rows.map((row) => {
    try {
      return { row, ...find(row) };
    } catch (cause) {
      return toFailed(row, cause);
    }
  });
}

export function toFailed(row: RowName, cause: unknown): Failed {
  return { row, failed: cause instanceof Error ? cause.message : String(cause) };
}
