import { generateKeyPairSync } from 'node:crypto';
import type { Hex, LocalAccount } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { createChainClient, createWriter } from '../../../src/chain/index.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { type Log, silentLog } from '../../../src/core/log.ts';
import type { Sql } from '../../../src/db/index.ts';
import type { AnchorChain, AnchorContract } from '../../../src/provenance/anchoring/anchor-chain.ts';
import { type Anchoring, createAnchoring } from '../../../src/provenance/anchoring/anchoring.ts';
import { createEvmAnchorChain } from '../../../src/provenance/anchors/evm/index.ts';
import { createLog } from '../../../src/provenance/log/log.ts';
import type { Logs } from '../../../src/provenance/log/transparency-log.ts';

export type ChainParts = {
  chainId: number;
  rpcUrl: string;
  contracts: { versions?: Hex; receipts?: Hex };
  account: LocalAccount | Hex;
  feeMaxWei?: bigint;
  finalityBlocks?: number;
  receiptMs?: number;
  /** Stands between the job and a contract, for example to halt it. */
  wrap?(contract: AnchorContract): AnchorContract;
};

export type GatewayParts = {
  sql: Sql;
  chains: readonly ChainParts[];
  everyMs?: number;
  clock?: Clock;
  log?: Log;
  keyPem?: string;
  origin?: string;
  /** Who has to look before anything is signed. */
  watchers?: readonly string[];
};

export const ORIGIN = 'log.example';

export function newLogKeyPem(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** The parts of a gateway that anchor, as a process of its own would have them. */
export function buildGateway(parts: GatewayParts): { logs: Logs; anchoring: Anchoring } {
  const { sql, clock = systemClock, log = silentLog, origin = ORIGIN, watchers = [] } = parts;
  const keys = { currentPem: parts.keyPem ?? newLogKeyPem() };
  const logs: Logs = {
    versions: createLog({ sql, clock, log, keys, name: 'versions', origin, watchers }),
    receipts: createLog({ sql, clock, log, keys, name: 'receipts', origin: `${origin}/receipts`, watchers }),
  };
  const chains = parts.chains.map((chain) => buildChain(sql, chain));
  return {
    logs,
    anchoring: createAnchoring({ sql, clock, log, logs, chains, everyMs: parts.everyMs ?? 1 }),
  };
}

function buildChain(sql: Sql, parts: ChainParts): AnchorChain {
  const { chainId, rpcUrl, contracts, finalityBlocks, feeMaxWei = 100_000_000_000n } = parts;
  const client = createChainClient({ chainId, rpcUrl, finalityBlocks, timeouts: { callMs: 5_000 } });
  const writer = createWriter({
    ...{ sql, client, feeMaxWei, log: silentLog, confirmations: 1 },
    account: typeof parts.account === 'string' ? privateKeyToAccount(parts.account) : parts.account,
    timeouts: { receiptMs: parts.receiptMs ?? 2_000, pollMs: 20, replaceMs: 0 },
  });
  const chain = createEvmAnchorChain({ client, writer, feeMaxWei, contracts });
  const { wrap } = parts;
  if (!wrap) return chain;
  const { versions, receipts } = chain.contracts;
  return {
    ...chain,
    contracts: {
      ...(versions && { versions: wrap(versions) }),
      ...(receipts && { receipts: wrap(receipts) }),
    },
  };
}
