import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Sql } from '../db/index.ts';
import type { Job } from '../jobs/index.ts';
import type { Rail, StraySource } from '../payments/index.ts';

/** What every rail is made with. */
export type RailParts = { sql: Sql; clock: Clock; log: Log; secrets: readonly Buffer[] };

/** A rail, and what has to happen for it while the process runs. */
export type WiredRail = {
  rail: Rail;
  jobs: readonly Job[];
  /** How what it leans on was seen last, for `/ready`: a rail that is down takes nobody else with it. */
  health?(): Record<string, string>;
  /** Where money may arrive without a claim. */
  strays?: readonly StraySource[];
  close?(): Promise<void>;
};
