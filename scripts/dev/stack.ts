import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { silentLog } from '../../src/core/log.ts';
import { type DevAnchors, deployAnchors } from './anchors.ts';
import { type Rails, startRails } from './rails.ts';

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
  tempo: {
    rpcUrl: string;
    chainId: number;
    currency: string;
    recipient: string;
    /** Owns 1,000 dollars of the currency. */
    payerPrivateKey: string;
  };
  lightning: {
    /** `POST payUrl {"invoice"}` makes the agent's own node pay and answers `{"preimage"}`. */
    payUrl: string;
  };
  stripe: {
    apiBase: string;
    /** The agent's key: it grants tokens (`POST /v1/test_helpers/shared_payment/granted_tokens`). */
    agentKey: string;
    networkId: string;
    webhookSecret: string;
  };
  /** Where the logs' roots are anchored: the contract of the version log, and that of the receipts log. */
  anchor: { rpcUrl: string; chainId: number; contract: string; receiptsContract: string };
  log: {
    origin: string;
    /** The version log's public key (C2SP signed-note), which a client pins. */
    vkey: string;
    /** The same for the receipts log: each log has a key of its own name. */
    receiptsVkey: string;
  };
};

export type Development = {
  info: DevInfo;
  infoPath: string;
  rails: Rails;
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

/** Starts every rail and a gateway on them, and says in `dev.json` how to reach them. */
export async function startDevelopment(options: DevelopmentOptions): Promise<Development> {
  const dataDir = resolve(ROOT, options.env.MILLICENT_DATA_DIR ?? '.millicent');
  const infoPath = join(dataDir, 'dev.json');
  mkdirSync(dataDir, { recursive: true });
  rmSync(infoPath, { force: true });
  const rails = await startRails({ log: silentLog, dataDir, blockTimeSeconds: BLOCK_TIME_SECONDS });
  try {
    const anchors = await deployAnchors(rails.anvil, options.env.LOG_ORIGIN);
    const gateway = startGateway({ ...rails.environment, ...anchors.environment }, dataDir, options);
    const exited = new Promise<number | null>((done) => gateway.once('exit', done));
    const url = await waitUntilReady(gateway);
    rails.stripe.setWebhookUrl(`${url}/webhooks/stripe`);
    const info = await describe({ url, rails, anchors, dataDir }, options.env);
    // Renamed into place, so that whoever waits for the file never reads half of it.
    writeFileSync(`${infoPath}.draft`, `${JSON.stringify(info, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${infoPath}.draft`, infoPath);
    return {
      info,
      infoPath,
      rails,
      gateway,
      exited,
      close: () => closeAll(gateway, exited, rails, infoPath),
    };
  } catch (cause) {
    await rails.close();
    throw cause;
  }
}

function startGateway(
  environment: Record<string, string>,
  dataDir: string,
  options: DevelopmentOptions,
): ChildProcess {
  return spawn(process.execPath, [join(ROOT, 'scripts/start.mjs')], {
    cwd: ROOT,
    stdio: ['ignore', options.output, options.output === 'ignore' ? 'pipe' : 'inherit', 'ipc'],
    env: {
      LOG_LEVEL: 'warn',
      // A publisher's own server is on this machine, where everything else of a development is.
      REMOTE_ALLOW_LOOPBACK: 'yes',
      ...options.env,
      NODE_ENV: 'development',
      MILLICENT_DATA_DIR: dataDir,
      ...environment,
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

async function describe(
  { url, rails, anchors, dataDir }: { url: string; rails: Rails; anchors: DevAnchors; dataDir: string },
  env: NodeJS.ProcessEnv,
): Promise<DevInfo> {
  const adminKey = env.ADMIN_KEY ?? JSON.parse(readFileSync(join(dataDir, 'secrets.json'), 'utf8')).adminKey;
  const { anvil, tempo, lightning, stripe } = rails;
  const { rpcUrl, chainId, token, payTo, payerPrivateKey } = anvil;
  const { apiBase, agentKey, networkId, webhookSecret } = stripe;
  return {
    ...{ url, adminKey },
    evm: { rpcUrl, chainId, token, payTo, payerPrivateKey },
    tempo: {
      ...{ rpcUrl: tempo.rpcUrl, chainId: tempo.chainId },
      ...{ currency: tempo.currency, recipient: tempo.recipient },
      payerPrivateKey: await tempo.fundPayer(),
    },
    lightning: { payUrl: lightning.payUrl },
    stripe: { apiBase, agentKey, networkId, webhookSecret },
    anchor: {
      ...{ rpcUrl: anchors.rpcUrl, chainId: anchors.chainId },
      ...{ contract: anchors.versions, receiptsContract: anchors.receipts },
    },
    log: {
      origin: anchors.origin,
      vkey: await readVkey(url, '/log'),
      receiptsVkey: await readVkey(url, '/log/receipts'),
    },
  };
}

/** The current key, which stands first. */
async function readVkey(url: string, log: string): Promise<string> {
  const response = await fetch(`${url}${log}/vkey`);
  if (!response.ok) throw new Error(`${log}/vkey answered ${response.status}`);
  return (await response.text()).split('\n')[0] ?? '';
}

async function closeAll(
  gateway: ChildProcess,
  exited: Promise<number | null>,
  rails: Rails,
  infoPath: string,
): Promise<void> {
  rmSync(infoPath, { force: true });
  if (gateway.exitCode === null && gateway.signalCode === null) {
    gateway.kill('SIGTERM');
    const timer = setTimeout(() => gateway.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }
  await rails.close();
}
