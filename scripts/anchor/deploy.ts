/**
 * Puts a VersionAnchor on a chain and prints where it is, as JSON:
 *
 *   node --import tsx scripts/anchor/deploy.ts --rpc <url> --origin <log origin> --owner <address> --anchorer <address>
 *
 * The key that pays for it comes from DEPLOYER_KEY or, when that is unset, from stdin. It has no rights afterwards.
 */

import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  type Address,
  BaseError,
  createWalletClient,
  defineChain,
  type Hex,
  http,
  isAddress,
  isHex,
  keccak256,
  publicActions,
} from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { z } from 'zod';
import {
  VERSION_ANCHOR_CODE_HASH,
  versionAnchorAbi,
} from '../../src/provenance/anchors/evm/version-anchor-abi.ts';
import { artifactPath } from '../contracts.ts';

export type AnchorDeployment = {
  rpcUrl: string;
  /** Pays the gas, and has no rights afterwards. */
  deployerKey: Hex;
  /** The first line of the log's checkpoints; the contract keeps it for good. */
  origin: string;
  /** Who may name anchorers; the zero address fixes them for good. */
  owner: Address;
  /** The first anchorer; the zero address names none. */
  anchorer: Address;
};

const CALL_TIMEOUT_MS = 10_000;
const MINED_TIMEOUT_MS = 300_000;
const POLL_MS = 250;

/** Deploys the contract, waits for its block, and checks that the code on chain is the code of this project. */
export async function deployVersionAnchor(
  input: AnchorDeployment,
): Promise<{ address: Address; txHash: Hex; chainId: number; blockNumber: bigint }> {
  const { client, chainId } = await connect(input);
  const txHash = await client.deployContract({
    abi: versionAnchorAbi,
    bytecode: await readBytecode(),
    args: [input.origin, input.owner, input.anchorer],
  });
  const receipt = await client.waitForTransactionReceipt({ hash: txHash, timeout: MINED_TIMEOUT_MS });
  const { contractAddress: address, status, blockNumber } = receipt;
  if (status !== 'success' || !address) throw new Error(`the deployment ${txHash} reverted`);
  const code = await client.getCode({ address, blockNumber });
  if (code === undefined || keccak256(code) !== VERSION_ANCHOR_CODE_HASH) {
    throw new Error(`the code at ${address} is not that of this VersionAnchor`);
  }
  return { address, txHash, chainId, blockNumber };
}

async function connect(input: AnchorDeployment) {
  const transport = http(input.rpcUrl, { timeout: CALL_TIMEOUT_MS });
  const account = privateKeyToAccount(input.deployerKey);
  const chainId = await createWalletClient({ account, transport }).getChainId();
  const chain = defineChain({
    id: chainId,
    name: `eip155:${chainId}`,
    nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
    rpcUrls: { default: { http: [input.rpcUrl] } },
  });
  const client = createWalletClient({ account, chain, transport, pollingInterval: POLL_MS });
  return { client: client.extend(publicActions), chainId };
}

async function readBytecode(): Promise<Hex> {
  const artifact: unknown = JSON.parse(await readFile(artifactPath('VersionAnchor'), 'utf8'));
  return z.object({ bytecode: z.string().refine((word): word is Hex => isHex(word)) }).parse(artifact)
    .bytecode;
}

const addressSchema = z
  .string()
  .refine((word): word is Address => isAddress(word), 'is to be an address: 0x and 40 hexadecimal digits');
const optionsSchema = z.strictObject({
  rpc: z.url(),
  // One line, no white space and no plus: C2SP signed-note allows no other name of a key, and the key has this one.
  origin: z.string().regex(/^[^\s+]+$/, 'is to be a name without white space and plus signs'),
  owner: addressSchema,
  anchorer: addressSchema,
});
const keySchema = z
  .string()
  .trim()
  .regex(/^0x[0-9a-f]{64}$/i)
  .refine((word): word is Hex => isHex(word));

async function main(): Promise<void> {
  const option = { type: 'string' } as const;
  const { values } = parseArgs({ options: { rpc: option, origin: option, owner: option, anchorer: option } });
  const options = optionsSchema.safeParse(values);
  if (!options.success) throw new Error(z.prettifyError(options.error));
  const key = keySchema.safeParse(process.env.DEPLOYER_KEY ?? (await text(process.stdin)));
  // What was read is not repeated: it may be a key with one digit too many.
  if (!key.success)
    throw new Error('the key is to be 0x and 64 hexadecimal digits, in DEPLOYER_KEY or on stdin');
  const { rpc: rpcUrl, ...roles } = options.data;
  const { blockNumber, ...deployed } = await deployVersionAnchor({ rpcUrl, deployerKey: key.data, ...roles });
  const facts = {
    ...deployed,
    blockNumber: Number(blockNumber),
    codeHash: VERSION_ANCHOR_CODE_HASH,
    ...roles,
  };
  process.stdout.write(`${JSON.stringify(facts, null, 2)}\n`);
}

/** A refused transaction's whole message repeats the contract's code. */
function describe(error: unknown): string {
  if (error instanceof BaseError) return [error.shortMessage, error.details].filter(Boolean).join(' ');
  return error instanceof Error ? error.message : String(error);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((error: unknown) => {
    process.stderr.write(`${describe(error)}\n`);
    process.exitCode = 1;
  });
}
