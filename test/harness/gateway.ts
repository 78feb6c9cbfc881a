import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApp } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { silentLog } from '../../src/core/log.ts';
import { createDeps, type Deps } from '../../src/deps.ts';
import { adoptOrphans, noteOpenings } from '../../src/gateway/index.ts';
import { type DirectWay, directWay } from '../../src/http/index.ts';
import { listJobs, startJobs } from '../../src/jobs/index.ts';
import { createServer, type ServerOptions } from '../../src/server.ts';
import type { Anvil } from './chain.ts';
import type { TestDatabase } from './database.ts';

/** A gateway as its callers and its operator reach it, in whatever process it runs. */
export type GatewayClient = {
  url: string;
  adminKey: string;
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** A key with this balance and these scopes, made by the operator. */
  mint(balance: number, scopes?: string[]): Promise<string>;
};

export type TestGateway = GatewayClient & { deps: Deps; close(): Promise<void> };

export type TestGatewayOptions = {
  database: Pick<TestDatabase, 'url'>;
  anvil?: Anvil | undefined;
  env?: Record<string, string>;
  /** What the world calls it, where something stands in front; its own address unless told. */
  publicUrl?: string;
  /** Changes the wired parts before anything runs, for example to make one fail. */
  change?(deps: Deps): void;
  /** Shorter times of the server, for tests that cannot wait for a minute. */
  server?: ServerOptions;
  /** Runs around every request. */
  around?(request: Request, answer: () => Response | Promise<Response>): Response | Promise<Response>;
};

const ADMIN_KEY = 'admin-key-of-the-tests';
export const TEST_SECRET = 'ab'.repeat(32);

/** The environment of a gateway on this database and chain. */
export function gatewayEnvironment(
  options: Pick<TestGatewayOptions, 'database' | 'anvil' | 'env'>,
  dataDir: string,
) {
  const { anvil } = options;
  return {
    ...{ NODE_ENV: 'test', PORT: '0', LOG_LEVEL: 'silent', MILLICENT_DATA_DIR: dataDir },
    ...{ DATABASE_URL: options.database.url, ADMIN_KEY, SECRET: TEST_SECRET, MINTS_PER_HOUR: '1000' },
    ...(anvil && {
      ...{ EVM_RPC_URL: anvil.rpcUrl, EVM_CHAIN_ID: String(anvil.chainId), EVM_TOKEN: anvil.token },
      ...{ EVM_TOKEN_NAME: anvil.tokenName, EVM_TOKEN_VERSION: anvil.tokenVersion },
      ...{ EVM_PAY_TO: anvil.payTo, EVM_WALLET_KEY: anvil.gatewayWalletKey, EVM_MIN_MCENTS: '10' },
    }),
    ...options.env,
  };
}

/** A whole gateway in this process, listening on a port of its own. */
export async function startTestGateway(options: TestGatewayOptions): Promise<TestGateway> {
  const dataDir = mkdtempSync(join(tmpdir(), 'millicent-test-'));
  const config = readConfig(gatewayEnvironment(options, dataDir));
  let direct: DirectWay | undefined;
  const around = options.around ?? ((_request, answer) => answer());
  const fetchApp = (request: Request, env: object) => around(request, () => app.fetch(request, env));
  const server = createServer(fetchApp, {
    ...config.traffic.server,
    isTrustedProxy: config.isTrustedProxy,
    // What runs around every request has to see every request.
    direct: (reply) => !options.around && (direct?.(reply) ?? false),
    ...options.server,
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  const deps = await createDeps({
    config,
    log: silentLog,
    publicUrl: options.publicUrl ?? url,
    isDraining: () => false,
  });
  options.change?.(deps);
  const app = createApp(deps.http);
  direct = directWay(deps.http);
  await adoptOrphans(deps.http);
  await noteOpenings(deps.http, AbortSignal.timeout(5_000));
  const jobs = startJobs([...listJobs(deps.http), ...deps.jobs], silentLog);
  return {
    ...connectGateway(url),
    deps,
    async close() {
      await jobs.close();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      await deps.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** A gateway of the tests that listens at `url`. */
export function connectGateway(url: string): GatewayClient {
  return {
    url,
    adminKey: ADMIN_KEY,
    fetch: (path, init) => fetch(url + path, init),
    async mint(balance, scopes = ['example', 'invoke']) {
      const response = await fetch(`${url}/v1/admin/mint`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-admin-key': ADMIN_KEY },
        body: JSON.stringify({ balance_mcents: balance, scopes }),
      });
      const body = (await response.json()) as { key: string };
      if (!response.ok) throw new Error(JSON.stringify(body));
      return body.key;
    },
  };
}
