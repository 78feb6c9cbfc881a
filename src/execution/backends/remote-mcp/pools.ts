import { Pool } from 'undici';
import { type ConnectorOptions, createConnector } from './connector.ts';

export type Pools = {
  /** The connections to an origin. */
  of(origin: string): Pool;
  close(): Promise<void>;
};

export type PoolsOptions = ConnectorOptions & {
  connectionsMax: number;
  originsMax: number;
};

const HEADER_BYTES_MAX = 16 * 1024;
/** Servers of Node close what is idle for five seconds and say so; others are rarely that strict. */
const KEEP_ALIVE_MS = 4_000;
const KEEP_ALIVE_MAX_MS = 60_000;

/** A pool of connections for each origin; the one that was not used for longest is closed when there are too many. */
export function createPools(options: PoolsOptions): Pools {
  const { connectionsMax, originsMax } = options;
  const connect = createConnector(options);
  const pools = new Map<string, Pool>();
  const open = (origin: string) =>
    new Pool(origin, {
      connect,
      connections: connectionsMax,
      pipelining: 1,
      maxHeaderSize: HEADER_BYTES_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MAX_MS,
      // Every call has one deadline of its own, and it is shorter than these would be.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  return {
    of(origin) {
      const known = pools.get(origin);
      if (known !== undefined) return known;
      const pool = open(origin);
      pools.set(origin, pool);
      if (pools.size > originsMax) closeIdle(pools);
      return pool;
    },
    async close() {
      const closing = [...pools.values()].map((pool) => pool.destroy());
      pools.clear();
      await Promise.all(closing);
    },
  };
}

/** Closing waits for what is under way, so nothing is lost by it. */
function closeIdle(pools: Map<string, Pool>): void {
  for (const [origin, pool] of pools) {
    if (pool.stats.size > 0) continue;
    pools.delete(origin);
    // What cannot be closed in order is gone already.
    pool.close().catch(() => undefined);
    return;
  }
}
