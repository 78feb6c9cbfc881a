import { createChainClient } from '../chain/index.ts';
import type { TempoConfig } from '../config/tempo.ts';
import { createTempoRail } from '../payments/rails/tempo/index.ts';
import type { RailParts, WiredRail } from './wired-rail.ts';

const TIMEOUTS = { lookMs: 10_000, settleMs: 24_000, pollMs: 20 };

/** The tempo rail over one RPC. */
export function wireTempo(config: TempoConfig, { clock, log }: RailParts): WiredRail {
  const { rpcUrl, chainId, currency, recipient, amountMin, settleMarginMs } = config;
  const client = createChainClient({ chainId, rpcUrl, timeouts: { callMs: 10_000 } });
  const terms = { currency, recipient, amountMin, settleMarginMs };
  return { rail: createTempoRail({ client, ...terms, clock, log, timeouts: TIMEOUTS }), jobs: [] };
}
