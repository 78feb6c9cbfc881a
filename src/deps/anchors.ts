import { privateKeyToAccount } from 'viem/accounts';
import { createChainClient, createRemoteSigner, createWriter } from '../chain/index.ts';
import type { AnchorChain as AnchorChainConfig, ProvenanceConfig } from '../config/provenance.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import { timeLimit } from '../core/time-limit.ts';
import type { Sql } from '../db/index.ts';
import type { Job } from '../jobs/index.ts';
import type { AnchorChain } from '../provenance/anchoring/anchor-chain.ts';
import { createAnchoring } from '../provenance/anchoring/anchoring.ts';
import { createEvmAnchorChain } from '../provenance/anchors/evm/index.ts';
import type { Anchors, Logs } from '../provenance/index.ts';

export type WiredAnchors = {
  anchors: Anchors;
  jobs: readonly Job[];
  /** A line for each chain, for `/ready`. */
  health(): Record<string, string>;
  close?(): Promise<void>;
};

const CALL_MS = 10_000;
/** A round over a chain that is not answered by then is over; the next one goes on where it stopped. */
const ROUND_MS = 60_000;
const ROUND_EVERY_MS = 10_000;
const WRITER_TIMEOUTS = { receiptMs: 15_000, pollMs: 200, replaceMs: 60_000 };

/** Wires the chains that the logs are anchored on; each has a job of its own, so that none waits for another. */
export function wireAnchors(input: {
  config: ProvenanceConfig;
  sql: Sql;
  clock: Clock;
  log: Log;
  logs: Logs;
}): WiredAnchors {
  const { config, sql, clock, log, logs } = input;
  const chains = config.anchorChains.map((chain) => wireChain(chain, { sql, log }));
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

function wireChain(config: AnchorChainConfig, { sql, log }: { sql: Sql; log: Log }): AnchorChain {
  const { chainId, rpcUrl, finalityBlocks, feeMaxWei, signer, contracts } = config;
  const client = createChainClient({ chainId, rpcUrl, finalityBlocks, timeouts: { callMs: CALL_MS } });
  const account =
    signer.kind === 'key'
      ? privateKeyToAccount(signer.key)
      : createRemoteSigner({ url: signer.url, address: signer.address, timeouts: { callMs: CALL_MS } });
  const writer = createWriter({
    ...{ sql, client, account, feeMaxWei, log, confirmations: 1, timeouts: WRITER_TIMEOUTS },
  });
  return createEvmAnchorChain({ client, writer, feeMaxWei, contracts });
}
