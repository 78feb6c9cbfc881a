import { BlockList, isIP } from 'node:net';
import { z } from 'zod';
import { AMOUNT_MILLICENTS_MAX, type Millicents, millicents } from './core/money.ts';

const MINT_MAX = 100_000_000n;

const integer = (fallback: number, min: number, max: number) =>
  z
    .string()
    .regex(/^[0-9]+$/, 'must be a whole number')
    .default(String(fallback))
    .transform(Number)
    .pipe(z.number().min(min).max(max));
const mcents = (fallback: number) =>
  z
    .string()
    .regex(/^[0-9]{1,13}$/, 'must be a whole number of millicents')
    .default(String(fallback))
    .transform((digits): Millicents => millicents(BigInt(digits)))
    .refine((amount) => amount <= AMOUNT_MILLICENTS_MAX);
const secret = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits (openssl rand -hex 32)');
const address = z.string().regex(/^0x[0-9a-fA-F]{40}$/, 'must be an address');
const hexKey = z.string().regex(/^0x[0-9a-fA-F]{64}$/, 'must be 0x and 64 hex digits');
const url = z.url({ protocol: /^https?$/ }).transform((text) => text.replace(/\/+$/, ''));

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
  LOG_ORIGIN: z
    .string()
    .regex(/^[^\s+]+$/)
    .optional(),
  SANDBOX: z.enum(['auto', 'bubblewrap', 'none']).default('auto'),
  SANDBOX_WORK_DIR: z.string().optional(),
  SANDBOX_CONCURRENCY: integer(8, 1, 256),
  SANDBOX_QUEUE: integer(256, 0, 100_000),
  SIGNUP_PRICE_MCENTS: mcents(10_000),
  SIGNUP_CREDIT_MCENTS: mcents(10_000),
  SIGNUPS_PER_HOUR: integer(1_000, 1, 1_000_000),
  MINTS_PER_HOUR: integer(10, 1, 1_000_000),
  EVM_RPC_URL: url.optional(),
  EVM_CHAIN_ID: integer(84_532, 1, Number.MAX_SAFE_INTEGER).optional(),
  EVM_TOKEN: address.optional(),
  EVM_TOKEN_NAME: z.string().optional(),
  EVM_TOKEN_VERSION: z.string().optional(),
  EVM_PAY_TO: address.optional(),
  EVM_WALLET_KEY: hexKey.optional(),
  EVM_CONFIRMATIONS: integer(1, 1, 1_000),
  EVM_MIN_MCENTS: mcents(100),
});

export type Environment = z.infer<typeof environmentSchema>;

export type EvmConfig = {
  rpcUrl: string;
  chainId: number;
  token: `0x${string}`;
  tokenName: string;
  tokenVersion: string;
  payTo: `0x${string}`;
  walletKey: `0x${string}`;
  confirmations: number;
  amountMin: Millicents;
};

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
  adminKey: string | undefined;
  /** Hex; the first seals and every one opens. Made on first start in development. */
  secrets: readonly string[];
  receiptKeyPem: string | undefined;
  receiptKeyPreviousPem: string | undefined;
  logOrigin: string | undefined;
  sandbox: Environment['SANDBOX'];
  sandboxWorkDir: string | undefined;
  sandboxConcurrency: number;
  sandboxQueue: number;
  signupPrice: Millicents;
  signupCredit: Millicents;
  signupsPerHour: number;
  mintsPerHour: number;
  mintMax: Millicents;
  evm: EvmConfig | undefined;
}>;

/** A start-up error that an operator can act on: it names the variables and the fix. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

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
    adminKey: env.ADMIN_KEY,
    secrets: [env.SECRET, env.SECRET_PREVIOUS].filter((value) => value !== undefined),
    receiptKeyPem: readPem(env.RECEIPT_KEY),
    receiptKeyPreviousPem: readPem(env.RECEIPT_KEY_PREVIOUS),
    logOrigin: env.LOG_ORIGIN,
    sandbox: env.SANDBOX,
    sandboxWorkDir: env.SANDBOX_WORK_DIR,
    sandboxConcurrency: env.SANDBOX_CONCURRENCY,
    sandboxQueue: env.SANDBOX_QUEUE,
    signupPrice: env.SIGNUP_PRICE_MCENTS,
    signupCredit: env.SIGNUP_CREDIT_MCENTS,
    signupsPerHour: env.SIGNUPS_PER_HOUR,
    mintsPerHour: env.MINTS_PER_HOUR,
    mintMax: millicents(MINT_MAX),
    evm: readEvm(env),
  });
}

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
  return (address) => list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** PEM in one line: `\n` spelled out, as environments carry it. */
function readPem(text: string | undefined): string | undefined {
  return text?.replaceAll('\\n', '\n');
}

function requireInProduction(env: Environment): void {
  if (env.NODE_ENV !== 'production') return;
  const needed = ['DATABASE_URL', 'PUBLIC_URL', 'SECRET', 'RECEIPT_KEY'] as const;
  const missing = needed.filter((name) => env[name] === undefined);
  if (missing.length > 0) throw new ConfigError(`In production ${missing.join(', ')} must be set`);
}

const EVM_NEEDED = ['EVM_RPC_URL', 'EVM_TOKEN', 'EVM_PAY_TO', 'EVM_WALLET_KEY'] as const;

function readEvm(env: Environment): EvmConfig | undefined {
  const missing = EVM_NEEDED.filter((name) => env[name] === undefined);
  if (missing.length === EVM_NEEDED.length) return undefined;
  const { EVM_RPC_URL: rpcUrl, EVM_TOKEN: token, EVM_PAY_TO: payTo, EVM_WALLET_KEY: walletKey } = env;
  if (!rpcUrl || !token || !payTo || !walletKey) {
    throw new ConfigError(`The evm rail is half configured: ${missing.join(', ')} must be set too`);
  }
  return {
    rpcUrl,
    chainId: env.EVM_CHAIN_ID ?? 84_532,
    token: toHex(token),
    tokenName: env.EVM_TOKEN_NAME ?? 'USDC',
    tokenVersion: env.EVM_TOKEN_VERSION ?? '2',
    payTo: toHex(payTo),
    walletKey: toHex(walletKey),
    confirmations: env.EVM_CONFIRMATIONS,
    amountMin: env.EVM_MIN_MCENTS,
  };
}

/** Lower case, and typed as viem types it: the schema has checked that it is hex. */
function toHex(text: string): `0x${string}` {
  return text.toLowerCase() as `0x${string}`;
}
