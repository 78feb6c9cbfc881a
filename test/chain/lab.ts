import { setTimeout as sleep } from 'node:timers/promises';
import type { Hex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { createChainClient, createWriter, type Writer } from '../../src/chain/index.ts';
import { silentLog } from '../../src/core/log.ts';
import { openDatabase, type Sql } from '../../src/db/index.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { type RpcProxy, startRpcProxy } from './rpc-proxy.ts';

export type WriterOptions = {
  receiptMs?: number;
  confirmations?: number;
  sql?: Sql;
  key?: Hex;
  replaceMs?: number;
  feeMaxWei?: bigint;
  finalityBlocks?: number;
};

/** A real chain behind a node that can fail, and a real database. */
export type ChainLab = {
  anvil: Anvil;
  proxy: RpcProxy;
  database: TestDatabase;
  /** A writer of the gateway's wallet as a process of its own would have it. */
  writer(options?: WriterOptions): Writer;
  /** Another pool on the same database: a second gateway. */
  openPool(): Sql;
  /** Empty blocks, so that what came before is final. */
  mine(blocks: number): Promise<void>;
  close(): Promise<void>;
};

export const anySignal = (): AbortSignal => AbortSignal.timeout(30_000);

export async function startChainLab(): Promise<ChainLab> {
  const [anvil, database] = await Promise.all([startAnvil({ log: silentLog }), createTestDatabase()]);
  const proxy = await startRpcProxy(anvil.rpcUrl);
  const pools: { close(): Promise<void> }[] = [];
  return {
    anvil,
    proxy,
    database,
    writer: (options = {}) =>
      createWriter({
        sql: options.sql ?? database.sql,
        client: createChainClient({
          chainId: anvil.chainId,
          rpcUrl: proxy.url,
          finalityBlocks: options.finalityBlocks,
          timeouts: { callMs: 5_000 },
        }),
        account: privateKeyToAccount(options.key ?? anvil.gatewayWalletKey),
        confirmations: options.confirmations ?? 1,
        log: silentLog,
        feeMaxWei: options.feeMaxWei ?? 100_000_000_000n,
        timeouts: {
          receiptMs: options.receiptMs ?? 20_000,
          pollMs: 20,
          replaceMs: options.replaceMs ?? 30_000,
        },
      }),
    openPool: () => {
      const pool = openDatabase({ url: database.url, poolMax: 5, applicationName: 'second-gateway' });
      pools.push(pool);
      return pool.sql;
    },
    mine: async (blocks) => {
      await anvil.rpc('anvil_mine', [`0x${blocks.toString(16)}`]);
    },
    close: async () => {
      await Promise.all(pools.map((pool) => pool.close()));
      await Promise.all([proxy.close(), database.close()]);
      await anvil.close();
    },
  };
}

/** Looks until something is there; another process decides when. */
export async function until<T>(look: () => Promise<T | undefined>, timeoutMs = 20_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error('it did not happen in time');
    await sleep(20);
  }
}
