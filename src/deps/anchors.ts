import type { ProvenanceConfig } from '../config/provenance.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import { timeLimit } from '../core/time-limit.ts';
import type { Sql } from '../db/index.ts';
import type { Job } from '../jobs/index.ts';
import { createAnchoring } from '../provenance/anchoring/anchoring.ts';
import type { Anchors, Logs } from '../provenance/index.ts';

export type WiredAnchors = {
  anchors: Anchors;
  jobs: readonly Job[];
  /** A line for each chain, for `/ready`. */
  health(): Record<string, string>;
  close?(): Promise<void>;
};

/** A round over a chain that is not answered by then is over; the next one goes on where it stopped. */
const ROUND_MS = 60_000;
const ROUND_EVERY_MS = 10_000;

/** Wires the chains that the logs are anchored on; each has a job of its own, so that none waits for another. */
export async function wireAnchors(input: {
  config: ProvenanceConfig;
  sql: Sql;
  clock: Clock;
  log: Log;
  logs: Logs;
}): Promise<WiredAnchors> {
  const { config, sql, clock, log, logs } = input;
  const chains = await Promise.all(
    config.anchorChains.map(async (chain) => {
      // What speaks to chains is only loaded where there is one.
      const { wireAnchorChain } = await import('./anchor-chain.ts');
      return wireAnchorChain(chain, { sql, log });
    }),
  );
  const anchoring = createAnchoring({ sql, clock, log, logs, chains, everyMs: config.anchorEveryMs });
  return {
    anchors: anchoring.anchors,
    jobs: chains.map(({ chainId }) => ({
      name: `anchor-${chainId}`,
      everyMs: Math.min(ROUND_EVERY_MS, config.anchorEveryMs),
      run: (signal) => anchoring.tick(chainId, timeLimit(signal, ROUND_MS)),
    })),
    health: () => anchoring.health(),
  };
}
