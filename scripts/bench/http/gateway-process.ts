import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { z } from 'zod';
import manifest from '../../../package.json' with { type: 'json' };
import { environmentSchema } from '../../../src/config.ts';
import { silentLog } from '../../../src/core/log.ts';
import { newReceiptKeyPem } from '../../../src/provenance/index.ts';
import { type Anvil, startAnvil } from '../../dev/anvil.ts';
import { startLightning } from '../../dev/lightning.ts';
import { startTempo } from '../../dev/tempo.ts';
import { type ServerProcess, startServer } from './server-process.ts';

/** The gateway as it runs in production, on a database of the bench's own. */
export type GatewayProcess = ServerProcess & {
  /** A key with as much balance as an operator may give: 1,000,000 calls of the example. */
  mint(): Promise<string>;
};

export type GatewayOptions = {
  databaseUrl: string;
  dataDir: string;
  pin: string[];
  /** Rails for every wire of its 402, on chains of its own. */
  withRails?: boolean;
  /** Modules that are loaded before it. */
  preload?: string[];
  env?: Record<string, string>;
  /** Mints a Lightning invoice with every challenge, at an embedded node of its own. */
  withInvoices?: boolean;
};

const BALANCE_MCENTS = 100_000_000;
const PAY_TO = '0x00000000000000000000000000000000000000aa';
/** Everything the limits on minting would keep from being measured. */
const UNLIMITED = { LIGHTNING_MINTS_PER_ADDRESS: '100000', LIGHTNING_MINTS_PER_MINUTE: '1000000' };

const RATE = '1000000';

const mintedSchema = z.object({ key: z.string() });

export async function startGateway(options: GatewayOptions): Promise<GatewayProcess> {
  const adminKey = randomBytes(24).toString('hex');
  const port = await findFreePort();
  const anvil = options.withRails ? await startAnvil({ log: silentLog }) : undefined;
  const tempo = options.withRails ? await startTempo({ log: silentLog }) : undefined;
  const lightning = options.withInvoices
    ? await startLightning({ dataDir: options.dataDir, log: silentLog })
    : undefined;
  const stopRails = async () => {
    await Promise.all([anvil?.close(), tempo?.close(), lightning?.close()]);
  };
  const server = await startServer({
    ...readStartCommand(),
    ...{ pin: options.pin, preload: options.preload ?? [] },
    env: {
      // The embedded node is not for production, and nothing else tells the two apart here.
      NODE_ENV: lightning ? 'test' : 'production',
      ...{ HOST: '127.0.0.1', PORT: String(port), LOG_LEVEL: 'error', SANDBOX: 'none' },
      ...{ DATABASE_URL: options.databaseUrl, MILLICENT_DATA_DIR: options.dataDir },
      ...{ PUBLIC_URL: `http://127.0.0.1:${port}`, ADMIN_KEY: adminKey, MINTS_PER_HOUR: '100000' },
      ...{ SECRET: randomBytes(32).toString('hex'), RECEIPT_KEY: newReceiptKeyPem() },
      LOG_KEY: newReceiptKeyPem(),
      ...highLimits(),
      ...(anvil && toEvmEnvironment(anvil)),
      ...(tempo && toTempoEnvironment(tempo)),
      ...(lightning && toLightningEnvironment(lightning)),
      ...options.env,
    },
  }).catch(async (cause: unknown) => {
    await stopRails();
    throw cause;
  });
  return {
    ...server,
    mint: () => mintKey(server.url, adminKey),
    async stop() {
      await server.stop();
      await stopRails();
    },
  };
}

/** What `npm start` runs, by the words of `package.json`. */
function readStartCommand(): { flags: string[]; script: string } {
  const { start } = manifest.scripts;
  const [node, ...words] = start.split(' ');
  const script = words.pop();
  if (node !== 'node' || script === undefined)
    throw new Error(`npm start runs "${start}", which is no script of Node`);
  return { flags: words, script };
}

function toEvmEnvironment(anvil: Anvil): Record<string, string> {
  return {
    ...{ EVM_RPC_URL: anvil.rpcUrl, EVM_CHAIN_ID: String(anvil.chainId), EVM_TOKEN: anvil.token },
    ...{ EVM_TOKEN_NAME: anvil.tokenName, EVM_TOKEN_VERSION: anvil.tokenVersion },
    ...{ EVM_PAY_TO: PAY_TO, EVM_WALLET_KEY: anvil.gatewayWalletKey },
  };
}

/** A rail whose node does not answer is not on the challenge. */
function toTempoEnvironment(tempo: Awaited<ReturnType<typeof startTempo>>): Record<string, string> {
  return {
    ...{ TEMPO_RPC_URL: tempo.rpcUrl, TEMPO_CHAIN_ID: String(tempo.chainId) },
    ...{ TEMPO_CURRENCY: tempo.currency, TEMPO_RECIPIENT: PAY_TO },
  };
}

function toLightningEnvironment({
  provider,
}: Awaited<ReturnType<typeof startLightning>>): Record<string, string> {
  return {
    ...{ LIGHTNING_PROVIDER: 'embedded', LIGHTNING_RATE: 'fixed:100000', ...UNLIMITED },
    ...{ LIGHTNING_EMBEDDED_URL: provider.url, LIGHTNING_EMBEDDED_TOKEN: provider.token },
  };
}

/**
 * The limits for callers as high as they go: every request is still counted against each of them, and none is refused.
 * The guard against a slow event loop stays, too, for a machine that does other things meanwhile.
 */
function highLimits(): Record<string, string> {
  const rates = Object.keys(environmentSchema.shape).filter((name) => name.startsWith('RATE_'));
  return {
    ...Object.fromEntries(rates.map((name) => [name, RATE])),
    ...('EVENT_LOOP_DELAY_MAX_MS' in environmentSchema.shape && { EVENT_LOOP_DELAY_MAX_MS: '60000' }),
  };
}

/** Production is told its own address, so the port has to be known before it listens. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('there is no free port');
  return address.port;
}

/** A key with as much balance as an operator may give. */
export async function mintKey(url: string, adminKey: string): Promise<string> {
  const response = await fetch(`${url}/v1/admin/mint`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-admin-key': adminKey },
    body: JSON.stringify({ balance_mcents: BALANCE_MCENTS, scopes: ['example'] }),
    signal: AbortSignal.timeout(10_000),
  });
  return mintedSchema.parse(await response.json()).key;
}
