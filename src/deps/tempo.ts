import { createChainClient } from '../chain/index.ts';
import type { TempoConfig } from '../config/tempo.ts';
import { createTempoRail } from '../payments/rails/tempo/index.ts';
import type { RailParts, WiredRail } from './wired-rail.ts';

const LOOK_EVERY_MS = 15_000;
const TIMEOUTS = { lookMs: 10_000, settleMs: 24_000, pollMs: 20 };

/** The tempo rail over one RPC. */
export function wireTempo(config: TempoConfig, { clock, log }: RailParts): WiredRail {
  const { rpcUrl, chainId, currency, recipient, amountMin, settleMarginMs } = config;
  const client = createChainClient({ chainId, rpcUrl, timeouts: { callMs: 10_000 } });
  const terms = { currency, recipient, amountMin, settleMarginMs };
  const rail = createTempoRail({ client, ...terms, clock, log, timeouts: TIMEOUTS });
  const { check, current } = rail.health;
  return {
    rail,
    jobs: [{ name: 'look-at-tempo', everyMs: LOOK_EVERY_MS, run: check }],
    health: () => ({ tempo: current().isUp ? 'ok' : `down: ${current().detail}` }),
  };
}
