import { privateKeyToAccount } from 'viem/accounts';
import { createChainClient, createRemoteSigner, createWriter } from '../chain/index.ts';
import type { AnchorChain as AnchorChainConfig } from '../config/provenance.ts';
import type { Log } from '../core/log.ts';
import type { Sql } from '../db/index.ts';
import type { AnchorChain } from '../provenance/anchoring/anchor-chain.ts';
import { createEvmAnchorChain } from '../provenance/anchors/evm/index.ts';

const CALL_MS = 10_000;
const WRITER_TIMEOUTS = { receiptMs: 15_000, pollMs: 200, replaceMs: 60_000 };

/** A chain that roots are anchored on, with the wallet or the signer that does it. */
export function wireAnchorChain(
  config: AnchorChainConfig,
  { sql, log }: { sql: Sql; log: Log },
): AnchorChain {
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
