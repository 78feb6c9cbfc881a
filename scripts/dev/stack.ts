import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from './anvil.ts';

/** What `.millicent/dev.json` tells clients of a development gateway. */
export type DevInfo = {
  url: string;
  adminKey: string;
  evm: {
    rpcUrl: string;
    chainId: number;
    token: string;
    payTo: string;
    /** Owns 1,000 test USDC. */
    payerPrivateKey: string;
  };
};

export type Development = {
  info: DevInfo;
  infoPath: string;
  anvil: Anvil;
  gateway: ChildProcess;
  /** The gateway's exit code, when it ends by itself. */
  exited: Promise<number | null>;
  close(): Promise<void>;
};

export type DevelopmentOptions = {
  /** `MILLICENT_DATA_DIR`, `PORT` and the rest of `.env.example` are honoured. */
  env: NodeJS.ProcessEnv;
  output: 'inherit' | 'ignore';
};

const ROOT = resolve(import.meta.dirname, '../..');
/** So that the chain's clock moves on between payments, as a real one's does. */
const BLOCK_TIME_SECONDS = 2;
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 45_000;

/** Starts a chain of its own and a gateway on it, and says in `dev.json` how to reach them. */
export async function startDevelopment(options: DevelopmentOptions): Promise<Development> {
  const dataDir = resolve(ROOT, options.env.MILLICENT_DATA_DIR ?? '.millicent');
  const infoPath = join(dataDir, 'dev.json');
  mkdirSync(dataDir, { recursive: true });
  rmSync(infoPath, { force: true });
  const anvil = await startAnvil({ log: silentLog, blockTimeSeconds: BLOCK_TIME_SECONDS });
  try {
    const gateway = startGateway(anvil, dataDir, options);
    const exited = new Promise<number | null>((done) => gateway.once('exit', done));
    const url = await waitUntilReady(gateway);
    const info = describe(url, anvil, dataDir, options.env);
    // Renamed into place, so that whoever waits for the file never reads half of it.
    writeFileSync(`${infoPath}.draft`, `${JSON.stringify(info, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${infoPath}.draft`, infoPath);
    return {
      info,
      infoPath,
      anvil,
      gateway,
      exited,
      close: () => closeAll(gateway, exited, anvil, infoPath),
    };
  } catch (cause) {
    await anvil.close();
    throw cause;
  }
}

function startGateway(anvil: Anvil, dataDir: string, options: DevelopmentOptions): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', join(ROOT, 'src/main.ts')], {
    cwd: ROOT,
    stdio: ['ignore', options.output, options.output === 'ignore' ? 'pipe' : 'inherit', 'ipc'],
    env: {
      LOG_LEVEL: 'warn',
      ...options.env,
      NODE_ENV: 'development',
      MILLICENT_DATA_DIR: dataDir,
      EVM_RPC_URL: anvil.rpcUrl,
      EVM_CHAIN_ID: String(anvil.chainId),
      EVM_TOKEN: anvil.token,
      EVM_TOKEN_NAME: anvil.tokenName,
      EVM_TOKEN_VERSION: anvil.tokenVersion,
      EVM_PAY_TO: anvil.payTo,
      EVM_WALLET_KEY: anvil.gatewayWalletKey,
    },
  });
}

function waitUntilReady(gateway: ChildProcess): Promise<string> {
  return new Promise((done, fail) => {
    let stderr = '';
    gateway.stderr?.on('data', (chunk: Buffer) => {
      stderr = (stderr + chunk.toString()).slice(-4_000);
    });
    const timer = setTimeout(() => fail(new Error('the gateway did not become ready')), START_TIMEOUT_MS);
    gateway.once('exit', (code) =>
      fail(new Error(`the gateway ended with code ${code} before it was ready. ${stderr}`)),
    );
    gateway.on('message', (message: { kind?: string; url?: string }) => {
      if (message.kind !== 'ready' || message.url === undefined) return;
      clearTimeout(timer);
      done(message.url);
    });
  });
}

function describe(url: string, anvil: Anvil, dataDir: string, env: NodeJS.ProcessEnv): DevInfo {
  const adminKey = env.ADMIN_KEY ?? JSON.parse(readFileSync(join(dataDir, 'secrets.json'), 'utf8')).adminKey;
  const { rpcUrl, chainId, token, payTo, payerPrivateKey } = anvil;
  return { url, adminKey, evm: { rpcUrl, chainId, token, payTo, payerPrivateKey } };
}

async function closeAll(
  gateway: ChildProcess,
  exited: Promise<number | null>,
  anvil: Anvil,
  infoPath: string,
): Promise<void> {
  rmSync(infoPath, { force: true });
  if (gateway.exitCode === null && gateway.signalCode === null) {
    gateway.kill('SIGTERM');
    const timer = setTimeout(() => gateway.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }
  await anvil.close();
}
