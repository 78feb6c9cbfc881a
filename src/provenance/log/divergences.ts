import type { Log } from '../../core/log.ts';
import type { Divergence, LogHealth, LogName } from './transparency-log.ts';

export type DivergencesDeps = {
  log: Log;
  name: LogName;
  origin: string;
  /** Who looks at the log from outside, by source: chains and witnesses. */
  watchers: readonly string[];
  /** How long those that did not look yet are waited for, once one of them did. */
  graceMs: number;
};

/** What speaks against a log, by who says so, and who has not looked at it yet since this process started. */
export type Divergences = {
  health(): LogHealth;
  report(divergence: Divergence): void;
  /** This source looked and found nothing: what it said before is over. */
  reportSound(source: string): void;
};

/**
 * A database that was restored from an older backup lost its last checkpoints as well, so that only chains and
 * witnesses know: until one of them has looked, and all of them or a while is over, nothing new may be signed.
 */
export function createDivergences(deps: DivergencesDeps): Divergences {
  const { log, name, origin, watchers, graceMs } = deps;
  const details = new Map<string, string>();
  const unheard = new Set(watchers);
  const graceEndsAt = performance.now() + graceMs;

  function isWaiting(): boolean {
    if (unheard.size === 0) return false;
    return unheard.size === watchers.length || performance.now() < graceEndsAt;
  }

  return {
    health() {
      if (details.size > 0) return { kind: 'diverged', detail: [...details.values()].join('; ') };
      if (!isWaiting()) return { kind: 'sound' };
      return {
        kind: 'waiting',
        detail: `nothing new is signed before it was compared with ${list(unheard)}`,
      };
    },
    report({ source, detail }) {
      unheard.delete(source);
      if (!details.has(source)) log.error({ log: name, origin, source, detail }, 'the log diverged');
      details.set(source, detail);
    },
    reportSound(source) {
      unheard.delete(source);
      if (details.delete(source)) log.warn({ log: name, origin, source }, 'the log is sound again');
    },
  };
}

function list(sources: Iterable<string>): string {
  return [...sources].join(', ');
}
