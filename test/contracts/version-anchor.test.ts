import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import {
  BaseError,
  ContractFunctionRevertedError,
  createPublicClient,
  createWalletClient,
  encodeAbiParameters,
  type Hex,
  http,
  isHex,
  keccak256,
  numberToHex,
  publicActions,
  toHex,
  zeroAddress,
} from 'viem';
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { deployVersionAnchor } from '../../scripts/anchor/deploy.ts';
import { artifactPath } from '../../scripts/contracts.ts';
import { silentLog } from '../../src/core/log.ts';
import {
  ANCHORS_SLOT,
  VERSION_ANCHOR_CODE_HASH,
  versionAnchorAbi,
} from '../../src/provenance/anchors/evm/version-anchor-abi.ts';
import {
  consistencyProof,
  type Hash,
  leafHashOf,
  nodeHashOf,
  rangeHash,
} from '../../src/provenance/index.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';

const ORIGIN = 'log.example/versions';
const OWNER: Hex = '0x1111111111111111111111111111111111111111';
/** Deployment measured 1.12M gas when the formats were decided; 15 % above it is the most that is allowed. */
const DEPLOY_GAS_MAX = 1_288_000n;
const GAS_SNAPSHOT = 'contracts/snapshots/VersionAnchor.json';
const DEPLOY_SCRIPT = 'scripts/anchor/deploy.ts';

const itemSchema = z.looseObject({
  type: z.string(),
  name: z.string().optional(),
  stateMutability: z.string().optional(),
  inputs: z.array(z.unknown()).default([]),
  outputs: z.array(z.unknown()).default([]),
});
const artifactSchema = z.object({
  abi: z.array(itemSchema),
  deployedBytecode: z.string().refine((word): word is Hex => isHex(word)),
});

let anvil: Anvil;

beforeAll(async () => {
  anvil = await startAnvil({ log: silentLog });
});

afterAll(() => anvil.close());

describe('what the gateway knows of VersionAnchor', () => {
  test('every function, event and error it names is in the compiled contract, to the last type', async () => {
    const { abi } = await readArtifact();
    const compiled = abi.map(spellItem);
    for (const item of versionAnchorAbi) expect(compiled).toContain(spellItem(itemSchema.parse(item)));
  });

  test('the code hash it compares with is that of the compiled contract', async () => {
    const { deployedBytecode } = await readArtifact();
    expect(keccak256(deployedBytecode)).toBe(VERSION_ANCHOR_CODE_HASH);
  });

  test('an anchor lies in the slots that storage proofs are made of', async () => {
    const { address, wallet } = await deployWithAnchorer();
    const [one, two] = [leafHashOf('one'), leafHashOf('two')];
    await sendAnchor(wallet, address, { from: 0n, to: 1n, root: toHex(one), proof: [] });
    const root = toHex(nodeHashOf(one, two));
    const receipt = await sendAnchor(wallet, address, { from: 1n, to: 2n, root, proof: [toHex(two)] });

    const { timestamp } = await wallet.getBlock({ blockNumber: receipt.blockNumber });
    const base = BigInt(keccak256(encodeAbiParameters([{ type: 'uint256' }], [ANCHORS_SLOT])));
    const read = async (slot: bigint) =>
      wallet.getStorageAt({ address, slot: numberToHex(slot, { size: 32 }) });
    expect(await read(ANCHORS_SLOT)).toBe(numberToHex(2, { size: 32 }));
    expect(await read(base)).toBe(toHex(one));
    expect(await read(base + 2n)).toBe(root);
    const packed = 2n | (timestamp << 64n) | (receipt.blockNumber << 128n);
    expect(await read(base + 3n)).toBe(numberToHex(packed, { size: 32 }));
    expect(await wallet.readContract({ address, abi: versionAnchorAbi, functionName: 'latest' })).toEqual([
      1n,
      { root, treeSize: 2n, time: timestamp, blockNumber: receipt.blockNumber },
    ]);
  });
});

describe('VersionAnchor on a chain', () => {
  test('takes tree heads and proofs of the log, for the gas that forge measured', async () => {
    const { address, wallet } = await deployWithAnchorer();
    await sendAnchor(wallet, address, { from: 0n, to: 1000n, root: uniformRoot(1000), proof: [] });
    const proof = consistencyProof(readUniform, 1000, 1001).map((hash) => toHex(hash));
    const receipt = await sendAnchor(wallet, address, {
      from: 1000n,
      to: 1001n,
      root: uniformRoot(1001),
      proof,
    });
    const snapshot = JSON.parse(await readFile(GAS_SNAPSHOT, 'utf8'));
    expect(receipt.gasUsed).toBe(BigInt(snapshot['1,000 to 1,001 leaves']));
  });

  test('says in its own words why it refuses, and the gateway understands them', async () => {
    const { address, wallet } = await deployWithAnchorer();
    const anchor = { from: 0n, to: 4n, root: uniformRoot(4), proof: [] };
    await sendAnchor(wallet, address, anchor);
    const other = toHex(leafHashOf('other'));
    const refusal = (change: Partial<TreeHead>) =>
      readRefusal(sendAnchor(wallet, address, { ...anchor, ...change }));
    expect(await refusal({ root: other })).toEqual(['ForkDetected', [4n, anchor.root, other]]);
    expect(await refusal({ to: 3n })).toEqual(['NotLarger', [4n]]);
    expect(await refusal({ to: 5n })).toEqual(['StaleBase', [4n]]);
    expect(await refusal({ from: 4n, to: 5n, proof: [other] })).toEqual(['Inconsistent', []]);
    const stranger = createWalletClient({
      account: privateKeyToAccount(anvil.payerPrivateKey),
      chain: baseSepolia,
      transport: http(anvil.rpcUrl),
    }).extend(publicActions);
    expect(await readRefusal(sendAnchor(stranger, address, anchor))).toEqual(['NotAnchorer', []]);
    const ask = wallet.readContract({
      address,
      abi: versionAnchorAbi,
      functionName: 'firstCovering',
      args: [4n],
    });
    expect(await readRefusal(ask)).toEqual(['NoSuchAnchor', []]);
  });
});

describe('deploying VersionAnchor', () => {
  test('gives a contract with its origin, its owner and its one anchorer, within the gas planned for', async () => {
    const anchorer = privateKeyToAddress(anvil.payerPrivateKey);
    const { address, txHash, chainId } = await deployVersionAnchor(deployment({ anchorer }));
    const client = createPublicClient({ chain: baseSepolia, transport: http(anvil.rpcUrl) });
    const contract = { address, abi: versionAnchorAbi } as const;
    expect(chainId).toBe(anvil.chainId);
    expect(await client.readContract({ ...contract, functionName: 'origin' })).toBe(ORIGIN);
    expect(await client.readContract({ ...contract, functionName: 'owner' })).toBe(OWNER);
    expect(await client.readContract({ ...contract, functionName: 'count' })).toBe(0n);
    const isAnchorer = (who: Hex) =>
      client.readContract({ ...contract, functionName: 'isAnchorer', args: [who] });
    expect(await isAnchorer(anchorer)).toBe(true);
    expect(await isAnchorer(privateKeyToAddress(anvil.gatewayWalletKey))).toBe(false);
    const { gasUsed } = await client.getTransactionReceipt({ hash: txHash });
    expect(gasUsed).toBeLessThan(DEPLOY_GAS_MAX);
  });

  test('names no anchorer when it is given the zero address', async () => {
    const { address } = await deployVersionAnchor(deployment({ anchorer: zeroAddress }));
    const client = createPublicClient({ chain: baseSepolia, transport: http(anvil.rpcUrl) });
    const contract = { address, abi: versionAnchorAbi } as const;
    expect(await client.readContract({ ...contract, functionName: 'isAnchorer', args: [zeroAddress] })).toBe(
      false,
    );
  });

  test.each([
    ['from the environment', { DEPLOYER_KEY: 'key' }, ''],
    ['from stdin', {}, 'key\n'],
  ])('the script takes the key %s and prints what a verifier needs to be told', async (_how, env, stdin) => {
    const key = anvil.gatewayWalletKey;
    const { output, code } = await runScript(
      ['--rpc', anvil.rpcUrl, '--origin', ORIGIN, '--owner', OWNER, '--anchorer', OWNER],
      { env: 'DEPLOYER_KEY' in env ? { DEPLOYER_KEY: key } : {}, stdin: stdin.replace('key', key) },
    );
    expect(code).toBe(0);
    expect(JSON.parse(output)).toMatchObject({
      address: expect.stringMatching(/^0x[0-9a-fA-F]{40}$/),
      txHash: expect.stringMatching(/^0x[0-9a-f]{64}$/),
      chainId: anvil.chainId,
      codeHash: VERSION_ANCHOR_CODE_HASH,
      origin: ORIGIN,
    });
  });

  test('the script says what is wrong with what it is given, and never repeats a key', async () => {
    const good = ['--rpc', anvil.rpcUrl, '--origin', ORIGIN, '--owner', OWNER, '--anchorer', OWNER];
    const mistyped = `${anvil.gatewayWalletKey}0`;
    const badKey = await runScript(good, { env: { DEPLOYER_KEY: mistyped }, stdin: '' });
    expect(badKey).toMatchObject({ code: 1, errors: expect.stringContaining('64 hexadecimal digits') });
    expect(badKey.errors).not.toContain(anvil.gatewayWalletKey);
    const badOwner = await runScript([...good, '--owner', '0x12'], {
      env: {},
      stdin: anvil.gatewayWalletKey,
    });
    expect(badOwner).toMatchObject({ code: 1, errors: expect.stringContaining('owner') });
    const noMoney = await runScript(good, { env: {}, stdin: generatePrivateKey() });
    expect(noMoney).toMatchObject({ code: 1, output: '', errors: expect.stringContaining('funds') });
  });
});

async function readArtifact(): Promise<z.infer<typeof artifactSchema>> {
  return artifactSchema.parse(JSON.parse(await readFile(artifactPath('VersionAnchor'), 'utf8')));
}

/** One spelling for an ABI item, without what the compiler adds and viem leaves out. */
function spellItem({ type, name, stateMutability, inputs, outputs }: z.infer<typeof itemSchema>): string {
  return JSON.stringify([type, name, stateMutability, inputs, outputs], (key, value) => {
    if (key === 'internalType' || (key === 'name' && value === '') || value === false) return undefined;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

function deployment(change: { anchorer: Hex }) {
  return {
    rpcUrl: anvil.rpcUrl,
    deployerKey: anvil.gatewayWalletKey,
    origin: ORIGIN,
    owner: OWNER,
    ...change,
  };
}

async function deployWithAnchorer() {
  const account = privateKeyToAccount(anvil.gatewayWalletKey);
  const { address } = await deployVersionAnchor(deployment({ anchorer: account.address }));
  const transport = http(anvil.rpcUrl);
  const wallet = createWalletClient({ account, chain: baseSepolia, transport, pollingInterval: 20 });
  return { address, wallet: wallet.extend(publicActions) };
}

/** The full subtrees of a log whose entries are all empty, as in the trees that forge measures. */
function readUniform(level: number): Hash {
  const hash = level === 0 ? leafHashOf('') : readUniform(level - 1);
  return level === 0 ? hash : nodeHashOf(hash, hash);
}

function uniformRoot(size: number): Hex {
  return toHex(rangeHash(readUniform, 0, size));
}

/** The contract's error and its arguments, out of what viem throws. */
async function readRefusal(call: Promise<unknown>): Promise<unknown> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  const revert =
    error instanceof BaseError
      ? error.walk((cause) => cause instanceof ContractFunctionRevertedError)
      : error;
  if (!(revert instanceof ContractFunctionRevertedError)) return revert;
  return [revert.data?.errorName, revert.data?.args ?? []];
}

type Wallet = Awaited<ReturnType<typeof deployWithAnchorer>>['wallet'];
type TreeHead = { from: bigint; to: bigint; root: Hex; proof: Hex[] };

async function sendAnchor(wallet: Wallet, address: Hex, { from, to, root, proof }: TreeHead) {
  const args = [from, to, root, proof] as const;
  const call = { address, abi: versionAnchorAbi, functionName: 'anchor', args } as const;
  await wallet.simulateContract(call);
  const hash = await wallet.writeContract(call);
  return wallet.waitForTransactionReceipt({ hash });
}

/** Runs the script as a person would; it gets nothing of our environment but the PATH. */
function runScript(args: string[], given: { env: Record<string, string>; stdin: string }) {
  return new Promise<{ code: number | null; output: string; errors: string }>((resolve) => {
    const child = execFile(
      process.execPath,
      ['--import', 'tsx', DEPLOY_SCRIPT, ...args],
      { env: { PATH: process.env.PATH, ...given.env }, timeout: 60_000 },
      (_error, output, errors) => resolve({ code: child.exitCode, output, errors }),
    );
    child.stdin?.end(given.stdin);
  });
}
