import { z } from 'zod';
import { ConfigError } from './config-error.ts';
import { integer } from './fields.ts';

const hex = (digits: number, name: string) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-fA-F]{${digits}}$`), `must be ${name}`)
    .transform((text) => text.toLowerCase() as `0x${string}`);
const address = hex(40, 'an address');

const targetSchema = z
  .strictObject({
    chainId: z.int().positive(),
    rpcUrl: z.url({ protocol: /^https?$/ }),
    /** The contracts of the two logs; a log without one is not anchored there. */
    versions: address.optional(),
    receipts: address.optional(),
    walletKey: hex(64, '0x and 64 hex digits').optional(),
    signerUrl: z.url({ protocol: /^https?$/ }).optional(),
    signerAddress: address.optional(),
    maxFeeGwei: z.int().min(1).max(1_000_000).default(100),
    finalityBlocks: z.int().min(1).max(1_000_000).optional(),
  })
  .refine(({ versions, receipts }) => versions ?? receipts, 'must name a contract, versions or receipts')
  .refine(
    ({ walletKey, signerUrl, signerAddress }) =>
      walletKey ? !signerUrl && !signerAddress : signerUrl && signerAddress,
    'must have either walletKey, or signerUrl and signerAddress',
  );

/** The logs' key, the chains their roots are anchored on, and who cosigns their checkpoints. */
export const provenanceEnvironment = {
  LOG_KEY: z.string().optional(),
  LOG_KEY_PREVIOUS: z.string().optional(),
  LOG_ORIGIN: z
    .string()
    .regex(/^[^\s+]+$/)
    .optional(),
  ANCHORS: z.string().optional(),
  ANCHOR_EVERY_SECONDS: integer(3_600, 1, 31_536_000),
  WITNESSES: z.string().default(''),
};

const environmentSchema = z.object(provenanceEnvironment);
type ProvenanceEnvironment = z.infer<typeof environmentSchema>;

/** One chain, and who signs there: a key of our own, or a signer elsewhere. */
export type AnchorChain = {
  chainId: number;
  rpcUrl: string;
  contracts: { versions?: `0x${string}`; receipts?: `0x${string}` };
  signer: { kind: 'key'; key: `0x${string}` } | { kind: 'remote'; url: string; address: `0x${string}` };
  feeMaxWei: bigint;
  finalityBlocks: number | undefined;
};

export type ProvenanceConfig = {
  logKeyPem: string | undefined;
  logKeyPreviousPem: string | undefined;
  logOrigin: string | undefined;
  anchorChains: readonly AnchorChain[];
  anchorEveryMs: number;
  witnesses: readonly { url: string; vkey: string }[];
};

const GWEI_WEI = 1_000_000_000n;

export function readProvenance(env: ProvenanceEnvironment): ProvenanceConfig {
  return {
    logKeyPem: env.LOG_KEY?.replaceAll('\\n', '\n'),
    logKeyPreviousPem: env.LOG_KEY_PREVIOUS?.replaceAll('\\n', '\n'),
    logOrigin: env.LOG_ORIGIN,
    anchorChains: readAnchors(env.ANCHORS),
    anchorEveryMs: env.ANCHOR_EVERY_SECONDS * 1_000,
    witnesses: readWitnesses(env.WITNESSES),
  };
}

function readAnchors(text: string | undefined): AnchorChain[] {
  if (text === undefined) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ConfigError('ANCHORS must be a JSON array');
  }
  const parsed = z.array(targetSchema).safeParse(value);
  if (!parsed.success) {
    // The values are left out: one of them may be a key.
    const issues = parsed.error.issues.map(({ path, message }) => `[${path.join('.')}] ${message}`);
    throw new ConfigError(`ANCHORS ${issues.join('; ')}`);
  }
  const chains = parsed.data.map(({ versions, receipts, walletKey, signerUrl, signerAddress, ...rest }) => ({
    ...{ chainId: rest.chainId, rpcUrl: rest.rpcUrl, finalityBlocks: rest.finalityBlocks },
    contracts: { ...(versions ? { versions } : {}), ...(receipts ? { receipts } : {}) },
    signer: walletKey
      ? ({ kind: 'key', key: walletKey } as const)
      : ({ kind: 'remote', url: signerUrl ?? '', address: signerAddress ?? '0x' } as const),
    feeMaxWei: BigInt(rest.maxFeeGwei) * GWEI_WEI,
  }));
  const twice = chains.find(({ chainId }, at) => chains.findIndex((one) => one.chainId === chainId) !== at);
  if (twice) throw new ConfigError(`ANCHORS names chain ${twice.chainId} twice`);
  return chains;
}

function readWitnesses(text: string): { url: string; vkey: string }[] {
  const entries = text.split(',').map((entry) => entry.trim());
  return entries
    .filter((entry) => entry !== '')
    .map((entry) => {
      const [url = '', vkey = '', ...rest] = entry.split(/\s+/);
      if (!/^https?:\/\/\S+$/.test(url) || !/^[^\s+]+\+[0-9a-f]{8}\+\S+$/.test(vkey) || rest.length > 0) {
        throw new ConfigError(`WITNESSES: "${entry}" is not "<url> <vkey>"`);
      }
      return { url: url.replace(/\/+$/, ''), vkey };
    });
}
