import { createClient, type Hex, http } from 'viem';
import { generatePrivateKey, mnemonicToAccount, privateKeyToAddress } from 'viem/accounts';
import { Actions } from 'viem/tempo';
import { tempoModerato } from 'viem/tempo/chains';
import type { Log } from '../../src/core/log.ts';
import { callRpc, findAnvil, waitForAddress } from './anvil.ts';
import { spawnBound } from './bound-child.ts';

/** A development chain that looks like Tempo's test network, with its dollar. */
export type Tempo = {
  rpcUrl: string;
  chainId: 42431;
  /** pathUSD, in which fees are paid too. */
  currency: Hex;
  /** Where payments go: fresh, so that its balance is what arrived. */
  recipient: Hex;
  /** The key of a new payer that owns this much of the currency; 1,000 dollars unless said otherwise. */
  fundPayer(units?: bigint): Promise<Hex>;
  rpc(method: string, params?: unknown[]): Promise<unknown>;
  pid: number;
  close(): Promise<void>;
};

export type TempoOptions = {
  log: Log;
  /** A block at least this often; only with transactions when left out. */
  blockTimeSeconds?: number;
};

const CHAIN_ID = 42431;
const PATH_USD = '0x20c0000000000000000000000000000000000000';
/** Whose accounts anvil fills, on Tempo with pathUSD. */
const ANVIL_MNEMONIC = 'test test test test test test test test test test test junk';
const PAYER_UNITS = 1_000_000_000n;
/** Enough past states for reads at a final block, few enough to stay in memory. */
const STATES_KEPT = 1000;
const POLL_MS = 20;

/** Starts anvil as a Tempo chain on a port of its own; it ends with this process, however that ends. */
export async function startTempo(options: TempoOptions): Promise<Tempo> {
  const child = await spawnBound({ command: findAnvil(), args: toArguments(options.blockTimeSeconds) });
  try {
    const rpcUrl = await waitForAddress(child);
    const rpc = (method: string, params: unknown[] = []) => callRpc(rpcUrl, method, params);
    // Whatever time the first block claims, transactions are valid by the second one's.
    await rpc('evm_mine');
    options.log.info({ rpcUrl, pid: child.pid }, 'tempo is ready');
    return {
      rpcUrl,
      chainId: CHAIN_ID,
      currency: PATH_USD,
      recipient: privateKeyToAddress(generatePrivateKey()),
      fundPayer: (units = PAYER_UNITS) => fundPayer(rpcUrl, units),
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
    ...['--host', '127.0.0.1', '--port', '0', '--chain-id', String(CHAIN_ID), '--network', 'tempo'],
    // Left to itself anvil takes Tempo's first rules, before expiring nonces: there a payer's second one is
    // counted like any other nonce, found used, and never mined.
    ...['--hardfork', 't4'],
    // Two blocks make a block final, so that finality is part of every run and none waits long for it.
    ...['--slots-in-an-epoch', '1', '--prune-history', String(STATES_KEPT), '--threads', '2'],
    ...blocks,
  ];
}

async function fundPayer(rpcUrl: string, units: bigint): Promise<Hex> {
  const key = generatePrivateKey();
  if (units === 0n) return key;
  const client = createClient({
    account: mnemonicToAccount(ANVIL_MNEMONIC),
    chain: { ...tempoModerato, rpcUrls: { default: { http: [rpcUrl] } } },
    transport: http(rpcUrl),
    pollingInterval: POLL_MS,
  });
  await Actions.token.transferSync(client, {
    ...{ token: PATH_USD, to: privateKeyToAddress(key), amount: units },
    // Any number of payers may be funded at once.
    nonceKey: 'expiring',
  });
  return key;
}
