import type { RowName } from '../targets.ts';

/** What the HTTP rows compare: one kind of call at one number of connections. */
export type HttpVariant = `${HttpKind}-${64 | 512}`;
export type HttpKind = 'bare' | 'commit' | 'paid' | 'do' | 'challenge' | 'x402' | 'mppx' | 'invoice';
export type HttpRow = Extract<RowName, `paid-${string}` | `challenge-${string}`>;

type Comparison = {
  /** The first's figure over the second's. */
  over: [HttpVariant, HttpVariant];
  by: 'cpuMicros' | 'perSecond';
  /** Which of the two is the gateway. */
  ours: 0 | 1;
};

export const COMPARISONS: Record<HttpRow, Comparison> = {
  'paid-64': { over: ['paid-64', 'bare-64'], by: 'cpuMicros', ours: 0 },
  'paid-512': { over: ['paid-512', 'bare-512'], by: 'cpuMicros', ours: 0 },
  'paid-rate-512': { over: ['paid-512', 'bare-512'], by: 'perSecond', ours: 0 },
  'paid-commit-64': { over: ['paid-64', 'commit-64'], by: 'cpuMicros', ours: 0 },
  'paid-commit-512': { over: ['paid-512', 'commit-512'], by: 'cpuMicros', ours: 0 },
  'paid-do': { over: ['paid-512', 'do-512'], by: 'perSecond', ours: 0 },
  'challenge-x402': { over: ['x402-64', 'challenge-64'], by: 'cpuMicros', ours: 1 },
  'challenge-mppx': { over: ['mppx-64', 'challenge-64'], by: 'cpuMicros', ours: 1 },
  'challenge-invoice': { over: ['mppx-64', 'invoice-64'], by: 'cpuMicros', ours: 1 },
  'challenge-bare': { over: ['challenge-64', 'bare-64'], by: 'cpuMicros', ours: 0 },
};

/** The variants that these rows need, once each. */
export function variantsOf(rows: readonly HttpRow[]): HttpVariant[] {
  return [...new Set(rows.flatMap((row) => COMPARISONS[row].over))];
}

export function partsOf(variant: HttpVariant): { kind: HttpKind; connections: number } {
  const [kind, connections] = variant.split('-');
  // The type spells both parts out; splitting is what forgets them.
  return { kind: kind as HttpKind, connections: Number(connections) };
}
