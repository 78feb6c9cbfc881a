import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Millicents } from '../core/money.ts';
import { ConfigError } from './config-error.ts';
import { integer, mcents, url } from './fields.ts';

const MIN_MCENTS_DEFAULT = 100;
const SPREAD_BPS_DEFAULT = 100;
const SOURCES = ['coinbase', 'kraken', 'bitstamp', 'mempool'] as const;
const MILLICENTS_PER_DOLLAR = 100_000n;

/** One node receives; `LIGHTNING_PROVIDER` says by which of the variables below it is reached. */
export const lightningEnvironment = {
  LIGHTNING_PROVIDER: z.enum(['lnd', 'cln', 'lnbits', 'phoenixd', 'nwc', 'embedded']).optional(),
  LIGHTNING_NETWORK: z.enum(['mainnet', 'testnet', 'signet', 'regtest']).optional(),
  LIGHTNING_MIN_MCENTS: mcents(MIN_MCENTS_DEFAULT),
  LIGHTNING_RATE: z
    .string()
    .regex(
      /^(?:fixed:[1-9][0-9]{0,8}(?:\.[0-9]{1,5})?|[a-z]+(?:,[a-z]+)*)$/,
      'must be sources, as in "coinbase,kraken", or "fixed:100000"',
    )
    .default(SOURCES.join(',')),
  LIGHTNING_RATE_FIXED_ON_MAINNET: z.enum(['yes', 'no']).default('no'),
  LIGHTNING_RATE_REFRESH_SECONDS: integer(45, 5, 120),
  LIGHTNING_SPREAD_BPS: integer(SPREAD_BPS_DEFAULT, 0, 5_000),
  LIGHTNING_MINTS_PER_ADDRESS: integer(30, 1, 100_000),
  LIGHTNING_MINTS_PER_MINUTE: integer(600, 1, 1_000_000),
  LIGHTNING_HELD_MAX: integer(100, 1, 400),
  LIGHTNING_LND_URL: url.optional(),
  LIGHTNING_LND_MACAROON: z
    .string()
    .regex(/^(?:[0-9a-fA-F]{2})+$/, 'must be hex (xxd -p -c 9999 invoice.macaroon)')
    .optional(),
  LIGHTNING_LND_CA: z.string().optional(),
  LIGHTNING_CLN_URL: url.optional(),
  LIGHTNING_CLN_RUNE: z.string().optional(),
  LIGHTNING_CLN_CA: z.string().optional(),
  LIGHTNING_LNBITS_URL: url.optional(),
  LIGHTNING_LNBITS_INVOICE_KEY: z.string().optional(),
  LIGHTNING_LNBITS_ADMIN_KEY: z.string().optional(),
  LIGHTNING_PHOENIXD_URL: url.optional(),
  LIGHTNING_PHOENIXD_PASSWORD: z.string().optional(),
  LIGHTNING_NWC_URL: z
    .string()
    .regex(/^nostr\+?walletconnect:(?:\/\/)?[0-9a-f]{64}\?/, 'must be a nostr+walletconnect:// address')
    .optional(),
  LIGHTNING_EMBEDDED_URL: url.optional(),
  LIGHTNING_EMBEDDED_TOKEN: z.string().optional(),
};

const environmentSchema = z.object(lightningEnvironment);
type LightningEnvironment = z.infer<typeof environmentSchema>;
type LightningNetwork = NonNullable<LightningEnvironment['LIGHTNING_NETWORK']>;

/** How to reach the node; `tlsCa` is PEM text. */
export type LightningNode =
  | { kind: 'lnd'; url: string; macaroonHex: string; tlsCa?: string }
  | { kind: 'cln'; url: string; rune: string; tlsCa?: string }
  | { kind: 'lnbits'; url: string; invoiceKey: string; adminKey?: string }
  | { kind: 'phoenixd'; url: string; password: string }
  | { kind: 'nwc'; url: string }
  | { kind: 'embedded'; url: string; token: string };

export type LightningRateConfig =
  | { kind: 'sources'; names: readonly (typeof SOURCES)[number][]; refreshMs: number }
  | { kind: 'fixed'; millicentsPerBtc: bigint };

export type LightningConfig = {
  node: LightningNode;
  network: LightningNetwork;
  amountMin: Millicents;
  rate: LightningRateConfig;
  spreadBps: bigint;
  mintsPerAddress: number;
  mintsTotal: number;
  heldMax: number;
};

/** Undefined when nothing is set; half a node is a `ConfigError` that names what is missing. */
export function readLightning(
  env: LightningEnvironment & { NODE_ENV?: string },
): LightningConfig | undefined {
  const { LIGHTNING_PROVIDER: provider } = env;
  if (provider === undefined) {
    const stray = Object.entries(env).find(
      ([name, value]) => NODE_VARIABLE.test(name) && value !== undefined,
    );
    if (stray) throw new ConfigError(`${stray[0]} is set: LIGHTNING_PROVIDER must say which node is used`);
    return undefined;
  }
  const network = chooseNetwork(env, provider);
  return {
    ...{ network, node: readNode(env, provider), rate: readRate(env, network) },
    amountMin: env.LIGHTNING_MIN_MCENTS,
    spreadBps: BigInt(env.LIGHTNING_SPREAD_BPS),
    mintsPerAddress: env.LIGHTNING_MINTS_PER_ADDRESS,
    mintsTotal: env.LIGHTNING_MINTS_PER_MINUTE,
    heldMax: env.LIGHTNING_HELD_MAX,
  };
}

const NODE_VARIABLE = /^LIGHTNING_(?:LND|CLN|LNBITS|PHOENIXD|NWC|EMBEDDED)_/;

function chooseNetwork(
  env: LightningEnvironment & { NODE_ENV?: string },
  provider: LightningNode['kind'],
): LightningNetwork {
  if (provider !== 'embedded') return env.LIGHTNING_NETWORK ?? 'mainnet';
  if (env.NODE_ENV === 'production') {
    throw new ConfigError(
      'LIGHTNING_PROVIDER=embedded is for development: production needs a node of its own',
    );
  }
  if ((env.LIGHTNING_NETWORK ?? 'regtest') !== 'regtest') {
    throw new ConfigError('LIGHTNING_NETWORK must be regtest with LIGHTNING_PROVIDER=embedded');
  }
  return 'regtest';
}

function readNode(env: LightningEnvironment, provider: LightningNode['kind']): LightningNode {
  switch (provider) {
    case 'lnd': {
      const needed = need(env, ['LIGHTNING_LND_URL', 'LIGHTNING_LND_MACAROON']);
      const node = { url: needed.LIGHTNING_LND_URL, macaroonHex: needed.LIGHTNING_LND_MACAROON };
      return { kind: provider, ...node, ...readCa('LIGHTNING_LND_CA', env.LIGHTNING_LND_CA) };
    }
    case 'cln': {
      const needed = need(env, ['LIGHTNING_CLN_URL', 'LIGHTNING_CLN_RUNE']);
      const node = { url: needed.LIGHTNING_CLN_URL, rune: needed.LIGHTNING_CLN_RUNE };
      return { kind: provider, ...node, ...readCa('LIGHTNING_CLN_CA', env.LIGHTNING_CLN_CA) };
    }
    case 'lnbits': {
      const needed = need(env, ['LIGHTNING_LNBITS_URL', 'LIGHTNING_LNBITS_INVOICE_KEY']);
      const node = { url: needed.LIGHTNING_LNBITS_URL, invoiceKey: needed.LIGHTNING_LNBITS_INVOICE_KEY };
      const adminKey = env.LIGHTNING_LNBITS_ADMIN_KEY;
      return { kind: provider, ...node, ...(adminKey === undefined ? {} : { adminKey }) };
    }
    case 'phoenixd': {
      const needed = need(env, ['LIGHTNING_PHOENIXD_URL', 'LIGHTNING_PHOENIXD_PASSWORD']);
      return {
        kind: provider,
        url: needed.LIGHTNING_PHOENIXD_URL,
        password: needed.LIGHTNING_PHOENIXD_PASSWORD,
      };
    }
    case 'nwc':
      return { kind: provider, url: need(env, ['LIGHTNING_NWC_URL']).LIGHTNING_NWC_URL };
    case 'embedded': {
      const needed = need(env, ['LIGHTNING_EMBEDDED_URL', 'LIGHTNING_EMBEDDED_TOKEN']);
      return { kind: provider, url: needed.LIGHTNING_EMBEDDED_URL, token: needed.LIGHTNING_EMBEDDED_TOKEN };
    }
    default:
      return provider satisfies never;
  }
}

/** The values of these variables, all of which must be there. */
function need<K extends keyof LightningEnvironment>(
  env: LightningEnvironment,
  names: readonly K[],
): Record<K, string> {
  const missing = names.filter((name) => env[name] === undefined);
  if (missing.length > 0) {
    throw new ConfigError(`The lightning rail is half configured: ${missing.join(', ')} must be set too`);
  }
  // None is missing, and each of them is text.
  return Object.fromEntries(names.map((name) => [name, String(env[name])])) as Record<K, string>;
}

/** A certificate authority as PEM in one line (`\n` spelled out), or the path of its file. */
function readCa(name: string, text: string | undefined): { tlsCa?: string } {
  if (text === undefined) return {};
  if (text.includes('BEGIN CERTIFICATE')) return { tlsCa: text.replaceAll('\\n', '\n') };
  try {
    return { tlsCa: readFileSync(text, 'utf8') };
  } catch (cause) {
    throw new ConfigError(`${name} is neither a certificate nor the path of one that can be read`, { cause });
  }
}

function readRate(env: LightningEnvironment, network: LightningNetwork): LightningRateConfig {
  const { LIGHTNING_RATE: text } = env;
  if (text.startsWith('fixed:')) {
    if (network === 'mainnet' && env.LIGHTNING_RATE_FIXED_ON_MAINNET !== 'yes') {
      throw new ConfigError(
        'LIGHTNING_RATE is fixed on mainnet, where it would be wrong within the hour: name sources, or set LIGHTNING_RATE_FIXED_ON_MAINNET=yes',
      );
    }
    const [whole = '', fraction = ''] = text.slice('fixed:'.length).split('.');
    return {
      kind: 'fixed',
      millicentsPerBtc: BigInt(whole) * MILLICENTS_PER_DOLLAR + BigInt(fraction.padEnd(5, '0')),
    };
  }
  const given = [...new Set(text.split(','))];
  const names = SOURCES.filter((name) => given.includes(name));
  if (names.length !== given.length || names.length < 2) {
    throw new ConfigError(`LIGHTNING_RATE needs at least two of ${SOURCES.join(', ')}`);
  }
  return { kind: 'sources', names, refreshMs: env.LIGHTNING_RATE_REFRESH_SECONDS * 1000 };
}
