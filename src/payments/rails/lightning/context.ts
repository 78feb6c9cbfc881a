import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import type { Millicents } from '../../../core/money.ts';
import type { Invoices } from '../../invoice/invoice.ts';
import type { Health } from './health.ts';
import type { LightningProvider } from './provider.ts';
import type { Rate } from './rate/index.ts';

export type LightningSettings = {
  /** The least it takes. */
  amountMin: Millicents;
  /** Invoices minted for one caller's address, and in all, within a minute. */
  mintsPerAddress: number;
  mintsTotal: number;
  /** Payments that may be held at once: a channel has 483 places, and each held payment takes one. */
  heldMax: number;
};

export type LightningTimeouts = {
  /** The longest `offer` may take: every 402 waits for it. */
  mintMs: number;
  /** The longest `verify`, `lookup` and `cancel` may take. */
  lookMs: number;
  settleMs: number;
  /** How long a preimage that is right waits for a node that has not seen its payment yet. */
  confirmMs: number;
  /** How often held and paid invoices are looked at again. */
  sweepMs: number;
};

export type LightningRailDeps = {
  provider: LightningProvider;
  invoices: Invoices;
  rate: Rate;
  health: Health;
  clock: Clock;
  log: Log;
  settings: LightningSettings;
  timeouts: LightningTimeouts;
};

export const LIGHTNING_TIMEOUTS: LightningTimeouts = {
  mintMs: 3_000,
  lookMs: 10_000,
  settleMs: 20_000,
  confirmMs: 3_000,
  sweepMs: 5_000,
};
