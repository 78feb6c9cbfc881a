import { BlockList, isIP } from 'node:net';
import { z } from 'zod';
import { type BuildConfig, buildEnvironment, readBuild } from './config/build.ts';
import { type ChargingConfig, chargingEnvironment, readCharging } from './config/charging.ts';
import { ConfigError } from './config/config-error.ts';
import { dockerEnvironment, readDocker } from './config/docker.ts';
import { type EvmConfig, evmEnvironment, readEvm } from './config/evm.ts';
import { integer, mcents, url } from './config/fields.ts';
import { kubernetesEnvironment, readKubernetes } from './config/kubernetes.ts';
import { type LightningConfig, lightningEnvironment, readLightning } from './config/lightning.ts';
import { type ProvenanceConfig, provenanceEnvironment, readProvenance } from './config/provenance.ts';
import { type RemoteConfig, readRemote, remoteEnvironment } from './config/remote.ts';
import { readSandbox, type SandboxConfig, sandboxEnvironment } from './config/sandbox.ts';
import { readStripe, type StripeConfig, stripeEnvironment } from './config/stripe.ts';
import { readTempo, type TempoConfig, tempoEnvironment } from './config/tempo.ts';
import { readTiers, tiersEnvironment } from './config/tiers.ts';
import { readTraffic, type TrafficConfig, trafficEnvironment } from './config/traffic.ts';
import { readWorkers, workersEnvironment } from './config/workers.ts';
import { createMemo } from './core/memo.ts';
import { type Millicents, millicents } from './core/money.ts';

export { ConfigError } from './config/config-error.ts';
export type { EvmConfig, EvmNetwork } from './config/evm.ts';

const MINT_MAX = 100_000_000n;

const secret = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits (openssl rand -hex 32)');

/** Every variable the gateway reads. `.env.example` explains each, and a test compares the two. */
export const environmentSchema = z.object({
  NODE_ENV: z.enum(['development', 'test', 'production']).default('development'),
  HOST: z.string().default('127.0.0.1'),
  PORT: integer(4020, 0, 65_535),
  PUBLIC_URL: url.optional(),
  TRUSTED_PROXIES: z.string().default(''),
  LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  MILLICENT_DATA_DIR: z.string().min(1).default('.millicent'),
  DATABASE_URL: z
    .string()
    .regex(/^postgres(?:ql)?:\/\//, 'must start with postgres://')
    .optional(),
  DATABASE_POOL_MAX: integer(10, 2, 200),
  ADMIN_KEY: z.string().min(16, 'must be at least 16 characters').optional(),
  SECRET: secret.optional(),
  SECRET_PREVIOUS: secret.optional(),
  RECEIPT_KEY: z.string().optional(),
  RECEIPT_KEY_PREVIOUS: z.string().optional(),
  SIGNUP_PRICE_MCENTS: mcents(10_000),
  SIGNUP_CREDIT_MCENTS: mcents(10_000),
  SIGNUPS_PER_HOUR: integer(1_000, 1, 1_000_000),
  MINTS_PER_HOUR: integer(10, 1, 1_000_000),
  ...chargingEnvironment,
  ...provenanceEnvironment,
  ...sandboxEnvironment,
  ...dockerEnvironment,
  ...kubernetesEnvironment,
  ...buildEnvironment,
  ...remoteEnvironment,
  ...evmEnvironment,
  ...tempoEnvironment,
  ...lightningEnvironment,
  ...stripeEnvironment,
  ...tiersEnvironment,
  ...workersEnvironment,
  ...trafficEnvironment,
});

export type Environment = z.infer<typeof environmentSchema>;

export type Config = Readonly<{
  isProduction: boolean;
  host: string;
  port: number;
  /** What the world calls us; undefined means the address we listen on. */
  publicUrl: string | undefined;
  /** Whether an address is a proxy of ours. */
  isTrustedProxy(address: string): boolean;
  logLevel: Environment['LOG_LEVEL'];
  dataDir: string;
  databaseUrl: string | undefined;
  databasePoolMax: number;
  charging: ChargingConfig;
  adminKey: string | undefined;
  /** Hex; the first seals and every one opens. Made on first start in development. */
  secrets: readonly string[];
  receiptKeyPem: string | undefined;
  receiptKeyPreviousPem: string | undefined;
  /** The logs, their anchors and their witnesses. */
  provenance: ProvenanceConfig;
  /** Where hosted code runs. */
  sandbox: SandboxConfig;
  /** Where its dependencies come from. */
  build: BuildConfig;
  /** How publishers' own servers are reached. */
  remote: RemoteConfig;
  signupPrice: Millicents;
  signupCredit: Millicents;
  signupsPerHour: number;
  mintsPerHour: number;
  mintMax: Millicents;
  evm: EvmConfig | undefined;
  tempo: TempoConfig | undefined;
  lightning: LightningConfig | undefined;
  stripe: StripeConfig | undefined;
  /** How many processes answer on the port. */
  workers: { count: number };
  /** How many free calls an account has a day. */
  tiers: ReturnType<typeof readTiers>;
  /** Who may call how fast, and how much is taken at once. */
  traffic: TrafficConfig;
}>;

/** Reads the environment once. Half a rail's configuration, or a production without secrets, is an error. */
export function readConfig(environment: Record<string, string | undefined> = process.env): Config {
  // An empty variable is how shells and compose files spell "not set".
  const present = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = environmentSchema.safeParse(present);
  if (!parsed.success) {
    throw new ConfigError(
      parsed.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`).join('; '),
    );
  }
  const env = parsed.data;
  requireInProduction(env);
  if (env.SIGNUP_CREDIT_MCENTS < env.SIGNUP_PRICE_MCENTS) {
    throw new ConfigError('SIGNUP_CREDIT_MCENTS must not be less than SIGNUP_PRICE_MCENTS');
  }
  const [evm, provenance] = [readEvm(env), readProvenance(env)];
  refuseSharedWallet(evm, provenance);
  return Object.freeze({
    isProduction: env.NODE_ENV === 'production',
    host: env.HOST,
    port: env.PORT,
    publicUrl: env.PUBLIC_URL,
    isTrustedProxy: readProxies(env.TRUSTED_PROXIES),
    logLevel: env.LOG_LEVEL,
    dataDir: env.MILLICENT_DATA_DIR,
    databaseUrl: env.DATABASE_URL,
    databasePoolMax: env.DATABASE_POOL_MAX,
    charging: readCharging(env),
    adminKey: env.ADMIN_KEY,
    secrets: [env.SECRET, env.SECRET_PREVIOUS].filter((value) => value !== undefined),
    receiptKeyPem: readPem(env.RECEIPT_KEY),
    receiptKeyPreviousPem: readPem(env.RECEIPT_KEY_PREVIOUS),
    provenance,
    sandbox: readSandbox(env, { docker: readDocker(env), kubernetes: readKubernetes(env) }),
    build: readBuild(env),
    remote: readRemote(env),
    signupPrice: env.SIGNUP_PRICE_MCENTS,
    signupCredit: env.SIGNUP_CREDIT_MCENTS,
    signupsPerHour: env.SIGNUPS_PER_HOUR,
    mintsPerHour: env.MINTS_PER_HOUR,
    mintMax: millicents(MINT_MAX),
    evm,
    tempo: readTempo(env),
    lightning: readLightning(env),
    stripe: readStripe(env),
    tiers: readTiers(env),
    workers: readWorkers(env),
    traffic: readTraffic(env),
  });
}

const ADDRESSES_KEPT_MAX = 10_000;

/** Addresses and networks (CIDR), separated by commas. */
function readProxies(text: string): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of text.split(',').map((part) => part.trim())) {
    if (entry === '') continue;
    const [address = '', prefix] = entry.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    const bits = prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix);
    try {
      list.addSubnet(address, bits, family);
    } catch {
      throw new ConfigError(`TRUSTED_PROXIES: ${entry} is neither an address nor a network`);
    }
  }
  // Every request asks, and the list takes longer to answer than the request to be read.
  const known = createMemo<{ isTrusted: boolean }>(ADDRESSES_KEPT_MAX);
  const check = (address: string) => ({
    isTrusted: list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4'),
  });
  return (address) => known(address, () => check(address)).isTrusted;
}

/** PEM in one line: `\n` spelled out, as environments carry it. */
function readPem(text: string | undefined): string | undefined {
  return text?.replaceAll('\\n', '\n');
}

/** What moves money and what anchors would wait for each other's transactions, and share what they may spend. */
function refuseSharedWallet(evm: EvmConfig | undefined, { anchorChains }: ProvenanceConfig): void {
  const settling = (evm?.networks ?? []).map(({ mover }) =>
    mover.kind === 'wallet' ? mover.walletKey.toLowerCase() : undefined,
  );
  const shared = anchorChains.find(({ signer }) => signer.kind === 'key' && settling.includes(signer.key));
  if (shared) {
    throw new ConfigError(
      `ANCHORS: chain ${shared.chainId} has the wallet that settles payments; anchoring needs one of its own`,
    );
  }
}

function requireInProduction(env: Environment): void {
  if (env.NODE_ENV !== 'production') return;
  const needed = ['DATABASE_URL', 'PUBLIC_URL', 'SECRET', 'RECEIPT_KEY', 'LOG_KEY'] as const;
  const missing = needed.filter((name) => env[name] === undefined);
  if (missing.length > 0) throw new ConfigError(`In production ${missing.join(', ')} must be set`);
}
