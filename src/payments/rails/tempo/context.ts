import type { Hex } from 'viem';
import type { ChainClient } from '../../../chain/index.ts';
import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import type { Millicents } from '../../../core/money.ts';

export type TempoTimeouts = {
  /** The longest `verify`, `lookup` and `balances` may take. */
  lookMs: number;
  /** The longest `settle` may take. */
  settleMs: number;
  /** The first pause between two looks at the receipt; each further one is half as long again. */
  pollMs: number;
};

export type TempoRailDeps = {
  client: ChainClient;
  /** A TIP-20 token worth a dollar; all of them have six decimals. */
  currency: Hex;
  recipient: Hex;
  /** The least it takes. */
  amountMin: Millicents;
  /**
   * How long beyond the run a transaction must be valid to be settled after it (MONEY.md, rule 5); one that
   * expires earlier is settled before the run.
   */
  settleMarginMs: number;
  clock: Clock;
  log: Log;
  timeouts: TempoTimeouts;
};

/** What the steps of the rail share; addresses are lower case, as in forms. */
export type TempoRailContext = TempoRailDeps & { network: string };
