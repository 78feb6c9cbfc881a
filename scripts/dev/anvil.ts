import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFunctionData, type Hex, numberToHex, parseAbi, parseEther } from 'viem';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { z } from 'zod';
import type { Log } from '../../src/core/log.ts';
import { artifactPath } from '../contracts.ts';
import { type BoundChild, findOnPath, spawnBound } from './bound-child.ts';

/** A development chain that looks like Base Sepolia, with its dollar token and two funded wallets. */
export type Anvil = {
  rpcUrl: string;
  chainId: 84532;
  token: Hex;
  tokenName: 'USDC';
  tokenVersion: '2';
  /** The hot wallet that settles: funded with ether. */
  gatewayWalletKey: Hex;
  /** Where payments go. */
  payTo: Hex;
  /** An agent's wallet: 1,000 USDC and one ether. */
  payerPrivateKey: Hex;
  mint(address: Hex, units: bigint): Promise<void>;
  rpc(method: string, params?: unknown[]): Promise<unknown>;
  pid: number;
  close(): Promise<void>;
};

export type AnvilOptions = {
  log: Log;
  /** A block at least this often, for chain time to pass without transactions; only with them when left out. */
  blockTimeSeconds?: number;
};

/** Where stock x402 clients expect the dollar of Base Sepolia, and any client expects Multicall3. */
const TOKEN = '0x036CbD53842c5426634e7929541eC2318f3dCF7e';
const MULTICALL3 = '0xcA11bde05977b3631167028862bE2a173976CA11';
const CHAIN_ID = 84532;

const MINTER = '0x0000000000000000000000000000000000031170';
const MINT_ABI = parseAbi(['function mint(address to, uint256 value)']);
const PAYER_UNITS = 1_000_000_000n;

/** Enough past states for reads at a finalized block, few enough to stay in memory. */
const STATES_KEPT = 1000;
const START_TIMEOUT_MS = 30_000;
const RPC_TIMEOUT_MS = 10_000;
const MINE_POLL_MS = 5;

const answerSchema = z.object({
  result: z.unknown().optional(),
  error: z.object({ message: z.string() }).optional(),
});

/** Starts anvil with fresh keys on a port of its own; it ends with this process, however that ends. */
export async function startAnvil(options: AnvilOptions): Promise<Anvil> {
  const child = await spawnBound({ command: findAnvil(), args: toArguments(options.blockTimeSeconds) });
  try {
    const rpcUrl = await waitForAddress(child);
    const rpc = (method: string, params: unknown[] = []) => callRpc(rpcUrl, method, params);
    const mint = (address: Hex, units: bigint) => mintTokens(rpc, address, units);
    await rpc('anvil_setCode', [TOKEN, await readDeployedCode('TestUsdc')]);
    await rpc('anvil_setCode', [MULTICALL3, await readDeployedCode('Multicall3Lite')]);
    await rpc('anvil_impersonateAccount', [MINTER]);
    await rpc('anvil_setBalance', [MINTER, numberToHex(parseEther('1000'))]);
    const [gatewayWalletKey, payerPrivateKey] = [generatePrivateKey(), generatePrivateKey()];
    await rpc('anvil_setBalance', [privateKeyToAddress(gatewayWalletKey), numberToHex(parseEther('100'))]);
    await rpc('anvil_setBalance', [privateKeyToAddress(payerPrivateKey), numberToHex(parseEther('1'))]);
    await mint(privateKeyToAddress(payerPrivateKey), PAYER_UNITS);
    options.log.info({ rpcUrl, pid: child.pid }, 'anvil is ready');
    return {
      rpcUrl,
      chainId: CHAIN_ID,
      token: TOKEN,
      tokenName: 'USDC',
      tokenVersion: '2',
      gatewayWalletKey,
      payTo: privateKeyToAddress(generatePrivateKey()),
      payerPrivateKey,
      mint,
      rpc,
      pid: child.pid,
      close: child.kill,
    };
  } catch (error) {
    await child.kill();
    throw error;
  }
}

function toArguments(blockTimeSeconds: number | undefined): string[] {
  const blocks =
    blockTimeSeconds === undefined ? [] : ['--block-time', String(blockTimeSeconds), '--mixed-mining'];
  return [
    ...['--host', '127.0.0.1', '--port', '0', '--chain-id', String(CHAIN_ID), '--accounts', '0'],
    // Two blocks make a block final, so that finality is part of every run and none waits long for it.
    ...['--slots-in-an-epoch', '1', '--prune-history', String(STATES_KEPT), '--threads', '2'],
    ...blocks,
  ];
}

/** The binary that npm installed for this platform, else the one on the PATH. */
export function findAnvil(): string {
  const name = `@foundry-rs/anvil-${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'bin', 'anvil');
  } catch {
    const onPath = findOnPath('anvil');
    if (onPath !== undefined) return onPath;
    throw new Error(`anvil is missing: run npm install ${name}, or install Foundry.`);
  }
}

/** Anvil says where it listens once it does; everything else it prints is drained and dropped. */
export async function waitForAddress(child: BoundChild): Promise<string> {
  const timeout = AbortSignal.timeout(START_TIMEOUT_MS);
  const lines = createInterface({ input: child.stdout });
  return new Promise<string>((resolve, reject) => {
    timeout.addEventListener('abort', () => reject(new Error('anvil did not start in time')));
    child.exited.then(() => reject(new Error('anvil ended before it listened')));
    lines.on('line', (line) => {
      const address = /Listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
      if (address !== undefined) resolve(`http://${address}`);
    });
  });
}

/** One JSON-RPC call, whose failure is thrown in the node's words. */
export async function callRpc(rpcUrl: string, method: string, params: unknown[]): Promise<unknown> {
  const response = await fetch(rpcUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    signal: AbortSignal.timeout(RPC_TIMEOUT_MS),
  });
  const answer = answerSchema.parse(await response.json());
  if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`);
  return answer.result;
}

async function mintTokens(rpc: Anvil['rpc'], address: Hex, units: bigint): Promise<void> {
  const data = encodeFunctionData({ abi: MINT_ABI, functionName: 'mint', args: [address, units] });
  const hash = await rpc('eth_sendTransaction', [{ from: MINTER, to: TOKEN, data }]);
  const deadline = Date.now() + RPC_TIMEOUT_MS;
  while ((await rpc('eth_getTransactionReceipt', [hash])) === null) {
    if (Date.now() > deadline) throw new Error('the chain does not mine the mint');
    await sleep(MINE_POLL_MS);
  }
}

async function readDeployedCode(contract: string): Promise<string> {
  const text = await readFile(artifactPath(contract), 'utf8');
  return z.object({ deployedBytecode: z.string() }).parse(JSON.parse(text)).deployedBytecode;
}
