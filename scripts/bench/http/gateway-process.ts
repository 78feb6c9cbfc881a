import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { z } from 'zod';
import { newReceiptKeyPem } from '../../../src/provenance/index.ts';
import { type ServerProcess, startServer } from './server-process.ts';

/** The gateway as it runs in production, on a database of the bench's own. */
export type GatewayProcess = ServerProcess & {
  /** A key with as much balance as an operator may give. */
  mint(): Promise<string>;
};

export type GatewayOptions = { databaseUrl: string; dataDir: string; pin: string[] };

const BALANCE_MCENTS = 100_000_000;
/** A challenge is made without asking the chain, so no chain is there. */
const EVM = {
  EVM_RPC_URL: 'http://127.0.0.1:9',
  EVM_CHAIN_ID: '84532',
  EVM_TOKEN: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
  EVM_PAY_TO: '0x00000000000000000000000000000000000000aa',
};

const mintedSchema = z.object({ key: z.string() });

export async function startGateway(options: GatewayOptions): Promise<GatewayProcess> {
  const adminKey = randomBytes(24).toString('hex');
  const port = await findFreePort();
  const server = await startServer({
    script: 'src/main.ts',
    pin: options.pin,
    env: {
      ...{
        NODE_ENV: 'production',
        HOST: '127.0.0.1',
        PORT: String(port),
        LOG_LEVEL: 'error',
        SANDBOX: 'none',
      },
      ...{ DATABASE_URL: options.databaseUrl, MILLICENT_DATA_DIR: options.dataDir },
      ...{ PUBLIC_URL: `http://127.0.0.1:${port}`, ADMIN_KEY: adminKey, MINTS_PER_HOUR: '1000' },
      ...{ SECRET: randomBytes(32).toString('hex'), RECEIPT_KEY: newReceiptKeyPem() },
      ...{ ...EVM, EVM_WALLET_KEY: `0x${randomBytes(32).toString('hex')}` },
    },
  });
  return { ...server, mint: () => mint(server.url, adminKey) };
}

/** Production is told its own address, so the port has to be known before it listens. */
async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('there is no free port');
  return address.port;
}

async function mint(url: string, adminKey: string): Promise<string> {
  const response = await fetch(`${url}/v1/admin/mint`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-admin-key': adminKey },
    body: JSON.stringify({ balance_mcents: BALANCE_MCENTS, scopes: ['example'] }),
    signal: AbortSignal.timeout(10_000),
  });
  return mintedSchema.parse(await response.json()).key;
}
