import { randomBytes, randomUUID } from 'node:crypto';
import { createPublicClient, type Hex, http, numberToHex, parseEther, zeroAddress } from 'viem';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { deployVersionAnchor } from '../../../scripts/anchor/deploy.ts';
import { silentLog } from '../../../src/core/log.ts';
import { openDatabase, type Sql, withTransaction } from '../../../src/db/index.ts';
import type { Anchoring } from '../../../src/provenance/anchoring/anchoring.ts';
import { versionAnchorAbi } from '../../../src/provenance/anchors/evm/version-anchor-abi.ts';
import type { LogName, Logs } from '../../../src/provenance/log/transparency-log.ts';
import { type RpcProxy, startRpcProxy } from '../../chain/rpc-proxy.ts';
import { type Anvil, startAnvil } from '../../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../../harness/database.ts';
import { buildGateway, type ChainParts, type GatewayParts, newLogKeyPem, ORIGIN } from './build.ts';

/** A chain with a contract for each log, behind a node that can fail. */
export type LabChain = {
  anvil: Anvil;
  proxy: RpcProxy;
  chainId: number;
  walletKey: Hex;
  contracts: { versions: Hex; receipts: Hex };
  mine(blocks: number): Promise<void>;
  setBaseFee(gwei: number): Promise<void>;
  /** What the contract holds, read past the proxy. */
  readAnchors(log?: LogName): Promise<{ treeSize: bigint; root: Hex }[]>;
  countTransactions(): Promise<number>;
  close(): Promise<void>;
};

export type LabGateway = {
  logs: Logs;
  anchoring: Anchoring;
  /** One round over a chain, the first one unless it is named. */
  tick(chain?: LabChain): Promise<void>;
  /** Appends leaves and signs. */
  grow(leaves: number, log?: LogName): Promise<void>;
  /** Rounds and blocks until nothing is under way. */
  settle(chain?: LabChain): Promise<void>;
};

export type LabGatewayOptions = Partial<Omit<GatewayParts, 'chains'>> & {
  chain?: Partial<ChainParts>;
  chains?: readonly LabChain[];
};

/** A database and logs of their own, on chains that a file's tests share. */
export type AnchorLab = {
  database: TestDatabase;
  keyPem: string;
  gateway(options?: LabGatewayOptions): LabGateway;
  openPool(): Sql;
  jobs(): Promise<Job[]>;
  close(): Promise<void>;
};

export type Job = {
  id: string;
  state: string;
  treeSize: bigint;
  prevSize: bigint;
  chainId: bigint;
  log: number;
};

export const anySignal = (): AbortSignal => AbortSignal.timeout(60_000);
const SETTLE_ROUNDS_MAX = 60;

/** Starts a node; another chain id makes it another chain. */
export async function startLabChain(chainId = 84_532): Promise<LabChain> {
  const anvil = await startAnvil({ log: silentLog });
  if (chainId !== anvil.chainId) await anvil.rpc('anvil_setChainId', [chainId]);
  const proxy = await startRpcProxy(anvil.rpcUrl);
  const chain = await deploy(anvil, proxy, chainId);
  return chain;
}

/** The same node with new contracts and a new wallet, for a test of its own. */
export async function renewChain({ anvil, proxy, chainId }: LabChain): Promise<LabChain> {
  proxy.decide(() => 'pass');
  await anvil.rpc('evm_setAutomine', [true]);
  return deploy(anvil, proxy, chainId);
}

async function deploy(anvil: Anvil, proxy: RpcProxy, chainId: number): Promise<LabChain> {
  const { rpcUrl } = anvil;
  const [deployerKey, walletKey] = [generatePrivateKey(), generatePrivateKey()];
  const anchorer = privateKeyToAddress(walletKey);
  for (const address of [privateKeyToAddress(deployerKey), anchorer]) {
    await anvil.rpc('anvil_setBalance', [address, numberToHex(parseEther('100'))]);
  }
  const mine = async (blocks: number) => void (await anvil.rpc('anvil_mine', [numberToHex(blocks)]));
  const setBaseFee = async (gwei: number) => {
    await anvil.rpc('anvil_setNextBlockBaseFeePerGas', [numberToHex(BigInt(gwei) * 10n ** 9n)]);
    await mine(1);
  };
  await setBaseFee(1);
  const put = async (origin: string) =>
    (await deployVersionAnchor({ rpcUrl, deployerKey, anchorer, origin, owner: zeroAddress })).address;
  const lower = (address: string) => address.toLowerCase() as Hex;
  const contracts = { versions: lower(await put(ORIGIN)), receipts: lower(await put(`${ORIGIN}/receipts`)) };
  const client = createPublicClient({ transport: http(rpcUrl), cacheTime: 0 });
  return {
    ...{ anvil, proxy, chainId, walletKey, contracts, mine, setBaseFee },
    async readAnchors(log = 'versions') {
      const contract = { address: contracts[log], abi: versionAnchorAbi };
      const count = await client.readContract({ ...contract, functionName: 'count' });
      const indexes = Array.from({ length: Number(count) }, (_, index) => BigInt(index));
      const read = (index: bigint) =>
        client.readContract({ ...contract, functionName: 'anchorAt', args: [index] });
      return Promise.all(indexes.map(read));
    },
    countTransactions: () => client.getTransactionCount({ address: anchorer }),
    close: async () => {
      await proxy.close();
      await anvil.close();
    },
  };
}

export async function openLab(chain: LabChain): Promise<AnchorLab> {
  const database = await createTestDatabase();
  const pools: { close(): Promise<void> }[] = [];
  const keyPem = newLogKeyPem();
  return {
    ...{ database, keyPem },
    gateway: ({ chain: change, chains = [chain], ...parts } = {}) => {
      const built = buildGateway({
        ...{ sql: database.sql, keyPem, ...parts },
        chains: chains.map(({ chainId, proxy, contracts, walletKey }) => {
          return { ...{ chainId, contracts, rpcUrl: proxy.url, account: walletKey }, ...change };
        }),
      });
      return drive({ ...built, sql: parts.sql ?? database.sql, chain });
    },
    openPool: () => {
      const pool = openDatabase({ url: database.url, poolMax: 5, applicationName: 'another-gateway' });
      pools.push(pool);
      return pool.sql;
    },
    jobs: () => database.sql<Job[]>`
      SELECT id, state, tree_size, prev_size, chain_id, log FROM anchor_job ORDER BY created_at, tree_size`,
    close: async () => {
      await Promise.all(pools.map((pool) => pool.close()));
      await database.close();
    },
  };
}

/** Entries that were never there, in a transaction of their own. */
export async function appendLeaves(sql: Sql, logs: Logs, leaves: number, log: LogName = 'versions') {
  const entries = Array.from({ length: leaves }, () => {
    return { entry: randomBytes(40), dedupKey: `test ${randomUUID()}` };
  });
  await withTransaction(sql, (tx) => logs[log].append(tx, entries));
}

type Driven = { logs: Logs; anchoring: Anchoring; sql: Sql; chain: LabChain };

function drive({ logs, anchoring, sql, chain: first }: Driven): LabGateway {
  const tick = (chain = first) => anchoring.tick(chain.chainId, anySignal());
  return {
    ...{ logs, anchoring, tick },
    async grow(leaves, log = 'versions') {
      await appendLeaves(sql, logs, leaves, log);
      await logs[log].sign();
    },
    async settle(chain = first) {
      for (let round = 0; round < SETTLE_ROUNDS_MAX; round += 1) {
        await tick(chain);
        await chain.mine(1);
        const [row] = await sql<{ count: bigint }[]>`
          SELECT count(*) AS count FROM anchor_job
          WHERE chain_id = ${chain.chainId} AND state IN ('planned', 'sent', 'mined')`;
        if (round > 2 && row?.count === 0n) return;
      }
      throw new Error(`anchoring does not come to rest: ${JSON.stringify(anchoring.health())}`);
    },
  };
}
