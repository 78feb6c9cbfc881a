import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../../../core/clock.ts';
import type { Log } from '../../../../core/log.ts';
import { timeLimit } from '../../../../core/time-limit.ts';
import type { RateSource } from './sources.ts';

/** What a bitcoin is worth, and how sure we are of it. */
export type RateReading = {
  /** Millicents for one bitcoin, the middle of the sources. */
  millicentsPerBtc: bigint;
  /** Which sources agreed on it. */
  source: string;
  at: Date;
  /** What is asked for on top of the rate, in basis points: more while the rate is old. */
  spreadBps: bigint;
};

export type Rate = {
  /** The rate now; undefined while there is none that can be trusted. Never waits. */
  current(): RateReading | undefined;
  /** Asks every source once. */
  refresh(signal: AbortSignal): Promise<void>;
  /** Refreshes until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
};

export type RateDeps = {
  sources: readonly RateSource[];
  clock: Clock;
  log: Log;
  refreshMs: number;
  spreadBps: bigint;
  limits?: Partial<RateLimits>;
};

export type RateLimits = {
  /** The longest one source may take. */
  sourceMs: number;
  /** From this age on the spread is widened by `staleSpreadBps`. */
  softStaleMs: number;
  staleSpreadBps: bigint;
  /** From this age on there is no rate. */
  hardStaleMs: number;
  /** How many sources must agree. */
  agreeingMin: number;
  /** How far from the middle a source may be and still agree. */
  deviationBps: bigint;
};

const DEFAULT_LIMITS: RateLimits = {
  sourceMs: 5_000,
  softStaleMs: 120_000,
  staleSpreadBps: 200n,
  hardStaleMs: 600_000,
  agreeingMin: 2,
  deviationBps: 300n,
};

/**
 * The median of several public tickers, kept fresh in the background. A source that lies is left out as long as
 * most others agree; when too few agree the last good rate ages, first at a wider spread and then not at all.
 */
export function createRate(deps: RateDeps): Rate {
  const limits = { ...DEFAULT_LIMITS, ...deps.limits };
  if (deps.sources.length < limits.agreeingMin) {
    throw new RangeError(`a rate needs at least ${limits.agreeingMin} sources`);
  }
  let accepted: Omit<RateReading, 'spreadBps'> | undefined;
  async function refresh(signal: AbortSignal): Promise<void> {
    const readings = await askAll(deps, limits, signal);
    const agreed = agree(readings, limits);
    if (agreed) accepted = { ...agreed, at: deps.clock.now() };
    else deps.log.warn({ sources: readings.map(({ name }) => name) }, 'too few sources agree on the rate');
  }
  return {
    current() {
      if (!accepted) return undefined;
      const ageMs = deps.clock.now().getTime() - accepted.at.getTime();
      if (ageMs >= limits.hardStaleMs) return undefined;
      const extraBps = ageMs >= limits.softStaleMs ? limits.staleSpreadBps : 0n;
      return { ...accepted, spreadBps: deps.spreadBps + extraBps };
    },
    refresh,
    async run(signal) {
      while (!signal.aborted) {
        await refresh(signal);
        await sleep(deps.refreshMs, undefined, { signal }).catch(() => {});
      }
    },
  };
}

/** A rate that an operator sets by hand: for regtest, and for a test network whose coins are worth nothing. */
export function createFixedRate(deps: { millicentsPerBtc: bigint; spreadBps: bigint; clock: Clock }): Rate {
  const { millicentsPerBtc, spreadBps } = deps;
  return {
    current: () => ({ millicentsPerBtc, spreadBps, source: 'fixed', at: deps.clock.now() }),
    refresh: async () => {},
    run: async () => {},
  };
}

type SourceReading = { name: string; millicentsPerBtc: bigint };

async function askAll(deps: RateDeps, limits: RateLimits, signal: AbortSignal): Promise<SourceReading[]> {
  const asked = deps.sources.map(async (source): Promise<SourceReading[]> => {
    try {
      const bound = timeLimit(signal, limits.sourceMs);
      return [{ name: source.name, millicentsPerBtc: await source.read(bound) }];
    } catch (cause) {
      deps.log.debug({ err: cause, source: source.name }, 'a source of the rate does not answer');
      return [];
    }
  });
  return (await Promise.all(asked)).flat();
}

/** The median of those near the median, if they are enough and the majority. */
function agree(
  readings: SourceReading[],
  limits: RateLimits,
): { millicentsPerBtc: bigint; source: string } | undefined {
  const middle = median(readings);
  if (middle === undefined) return undefined;
  const near = readings.filter(
    ({ millicentsPerBtc }) => distance(millicentsPerBtc, middle) * 10_000n <= middle * limits.deviationBps,
  );
  const rate = median(near);
  const areEnough = near.length >= limits.agreeingMin && near.length * 2 > readings.length;
  if (rate === undefined || !areEnough) return undefined;
  return { millicentsPerBtc: rate, source: near.map(({ name }) => name).join(',') };
}

function median(readings: readonly SourceReading[]): bigint | undefined {
  const sorted = readings.map(({ millicentsPerBtc }) => millicentsPerBtc).sort((a, b) => (a < b ? -1 : 1));
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? undefined : (low + high) / 2n;
}

function distance(a: bigint, b: bigint): bigint {
  return a > b ? a - b : b - a;
}
