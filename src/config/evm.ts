import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type Millicents, millicents } from '../core/money.ts';
import { ConfigError } from './config-error.ts';
import { integer, mcents, url } from './fields.ts';

const CHAIN_ID_DEFAULT = 84_532;
const CONFIRMATIONS_MAX = 1_000;
const FINALITY_BLOCKS_MAX = 1_000_000;
const MIN_MCENTS_DEFAULT = 100;
const GWEI_WEI = 1_000_000_000n;
const MAX_FEE_GWEI_DEFAULT = 100;

/** Lower case, and typed as viem types it: the pattern has checked that it is hex. */
const asHex = (text: string) => text.toLowerCase() as `0x${string}`;
const address = z
  .string()
  .regex(/^0x[0-9a-fA-F]{40}$/, 'must be an address')
  .transform(asHex);
const hexKey = z
  .string()
  .regex(/^0x[0-9a-fA-F]{64}$/, 'must be 0x and 64 hex digits')
  .transform(asHex);
/** One header with which a facilitator knows us, for example `Authorization: Bearer ...`. */
const header = z
  .string()
  .regex(
    /^[A-Za-z0-9-]{1,64}:\s*[\x21-\x7e][\x20-\x7e]*$/,
    'must be a header, as in "Authorization: Bearer abc"',
  )
  .transform((line) => {
    const [name = '', ...rest] = line.split(':');
    return { name, value: rest.join(':').trim() };
  });

/** The first network in variables of its own, and any number of further ones in `EVM_NETWORKS`. */
export const evmEnvironment = {
  EVM_RPC_URL: url.optional(),
  EVM_CHAIN_ID: integer(CHAIN_ID_DEFAULT, 1, Number.MAX_SAFE_INTEGER).optional(),
  EVM_TOKEN: address.optional(),
  EVM_TOKEN_NAME: z.string().optional(),
  EVM_TOKEN_VERSION: z.string().optional(),
  EVM_PAY_TO: address.optional(),
  EVM_WALLET_KEY: hexKey.optional(),
  EVM_FACILITATOR_URL: url.optional(),
  EVM_FACILITATOR_HEADER: header.optional(),
  EVM_CONFIRMATIONS: integer(1, 1, CONFIRMATIONS_MAX),
  // Without a default: unset means that nodes are asked.
  EVM_FINALITY_BLOCKS: z
    .string()
    .regex(/^[0-9]+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(1).max(FINALITY_BLOCKS_MAX))
    .optional(),
  EVM_MIN_MCENTS: mcents(MIN_MCENTS_DEFAULT),
  EVM_MAX_FEE_GWEI: integer(MAX_FEE_GWEI_DEFAULT, 1, 1_000_000),
  EVM_NETWORKS: z.string().optional(),
};

const environmentSchema = z.object(evmEnvironment);
type EvmEnvironment = z.infer<typeof environmentSchema>;

/** Who brings the authorizations to the token: a wallet of our own, or a facilitator. */
export type EvmMover =
  | { kind: 'wallet'; walletKey: `0x${string}`; feeMaxWei: bigint }
  | { kind: 'facilitator'; url: string; header: { name: string; value: string } | undefined };

/** One token on one network. */
export type EvmNetwork = {
  rpcUrl: string;
  chainId: number;
  token: `0x${string}`;
  tokenName: string;
  tokenVersion: string;
  payTo: `0x${string}`;
  mover: EvmMover;
  confirmations: number;
  /** How deep a block is final, on a chain whose nodes know no `finalized`; undefined asks the node. */
  finalityBlocks: number | undefined;
  amountMin: Millicents;
};

/** In the order in which they are offered; never empty. */
export type EvmConfig = { networks: readonly EvmNetwork[] };

const whole = (min: number, max: number) => z.int().min(min).max(max);
const entrySchema = z
  .strictObject({
    rpcUrl: url,
    chainId: whole(1, Number.MAX_SAFE_INTEGER),
    token: address,
    tokenName: z.string().min(1).default('USDC'),
    tokenVersion: z.string().min(1).default('2'),
    payTo: address,
    walletKey: hexKey.optional(),
    facilitatorUrl: url.optional(),
    facilitatorHeader: header.optional(),
    confirmations: whole(1, CONFIRMATIONS_MAX).default(1),
    finalityBlocks: whole(1, FINALITY_BLOCKS_MAX).optional(),
    minMcents: whole(0, 1_000_000_000).default(MIN_MCENTS_DEFAULT),
    maxFeeGwei: whole(1, 1_000_000).default(MAX_FEE_GWEI_DEFAULT),
  })
  .refine((entry) => (entry.walletKey === undefined) !== (entry.facilitatorUrl === undefined), {
    error: 'must have one of walletKey and facilitatorUrl',
  });

/** Undefined when nothing is set; half a network is a `ConfigError` that names what is missing. */
export function readEvm(env: EvmEnvironment): EvmConfig | undefined {
  const first = readFirst(env);
  const networks = [...(first ? [first] : []), ...readFurther(env.EVM_NETWORKS)];
  const seen = new Set<string>();
  for (const { chainId, token } of networks) {
    const name = `eip155:${chainId}/${token}`;
    if (seen.has(name)) throw new ConfigError(`EVM_NETWORKS: ${name} is configured twice`);
    seen.add(name);
  }
  return networks.length === 0 ? undefined : { networks };
}

function readFirst(env: EvmEnvironment): EvmNetwork | undefined {
  const { EVM_RPC_URL: rpcUrl, EVM_TOKEN: token, EVM_PAY_TO: payTo } = env;
  const { EVM_WALLET_KEY: walletKey, EVM_FACILITATOR_URL: facilitatorUrl } = env;
  if (![rpcUrl, token, payTo, walletKey, facilitatorUrl].some((value) => value !== undefined))
    return undefined;
  const needed = { EVM_RPC_URL: rpcUrl, EVM_TOKEN: token, EVM_PAY_TO: payTo };
  const missing: string[] = Object.entries(needed).flatMap(([name, value]) => (value ? [] : [name]));
  const mover = chooseMover({
    ...{ walletKey, facilitatorUrl, facilitatorHeader: env.EVM_FACILITATOR_HEADER },
    maxFeeGwei: env.EVM_MAX_FEE_GWEI,
  });
  if (mover === undefined) missing.push('EVM_WALLET_KEY (or EVM_FACILITATOR_URL)');
  if (!rpcUrl || !token || !payTo || !mover) {
    throw new ConfigError(`The evm rail is half configured: ${missing.join(', ')} must be set too`);
  }
  if (walletKey && facilitatorUrl) {
    throw new ConfigError('EVM_WALLET_KEY and EVM_FACILITATOR_URL exclude each other: one of them settles');
  }
  return {
    ...{ rpcUrl, token, payTo, mover },
    chainId: env.EVM_CHAIN_ID ?? CHAIN_ID_DEFAULT,
    tokenName: env.EVM_TOKEN_NAME ?? 'USDC',
    tokenVersion: env.EVM_TOKEN_VERSION ?? '2',
    confirmations: env.EVM_CONFIRMATIONS,
    finalityBlocks: env.EVM_FINALITY_BLOCKS,
    amountMin: env.EVM_MIN_MCENTS,
  };
}

/** `EVM_NETWORKS` is JSON text, or the path of a file that holds it. Its errors never repeat a key. */
function readFurther(text: string | undefined): EvmNetwork[] {
  if (text === undefined) return [];
  const entries = z.array(z.unknown()).safeParse(parseJson(text));
  if (!entries.success)
    throw new ConfigError('EVM_NETWORKS must be a JSON array, or the path of a file with one');
  return entries.data.map((entry, index) => {
    const parsed = entrySchema.safeParse(entry);
    if (parsed.success) return toNetwork(parsed.data);
    const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`.trim());
    throw new ConfigError(`EVM_NETWORKS[${index}]${nameOf(entry)}: ${issues.join('; ')}`);
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(/^\s*[[{]/.test(text) ? text : readFileSync(text, 'utf8'));
  } catch (cause) {
    // A parser quotes what it stumbles over, which may be a key: the cause stays out of the message.
    throw new ConfigError('EVM_NETWORKS is neither JSON nor the path of a JSON file that can be read', {
      cause,
    });
  }
}

/** Which entry it is, in words that its author knows. */
function nameOf(entry: unknown): string {
  const named = z.object({ chainId: z.number() }).safeParse(entry);
  return named.success ? ` (chainId ${named.data.chainId})` : '';
}

function toNetwork(entry: z.infer<typeof entrySchema>): EvmNetwork {
  const mover = chooseMover(entry);
  // The schema has refused an entry with neither.
  if (mover === undefined) throw new ConfigError('EVM_NETWORKS: an entry has nobody to settle');
  const { rpcUrl, chainId, token, tokenName, tokenVersion, payTo, confirmations, finalityBlocks } = entry;
  return {
    ...{ rpcUrl, chainId, token, tokenName, tokenVersion, payTo, confirmations, finalityBlocks, mover },
    amountMin: millicents(BigInt(entry.minMcents)),
  };
}

function chooseMover(given: {
  walletKey?: `0x${string}` | undefined;
  facilitatorUrl?: string | undefined;
  facilitatorHeader?: { name: string; value: string } | undefined;
  maxFeeGwei: number;
}): EvmMover | undefined {
  if (given.walletKey) {
    return { kind: 'wallet', walletKey: given.walletKey, feeMaxWei: BigInt(given.maxFeeGwei) * GWEI_WEI };
  }
  if (!given.facilitatorUrl) return undefined;
  return { kind: 'facilitator', url: given.facilitatorUrl, header: given.facilitatorHeader };
}
