import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { ConfigError } from '../../../src/config/config-error.ts';
import { type EvmConfig, evmEnvironment, readEvm } from '../../../src/config/evm.ts';

const TOKEN = '0x036CbD53842c5426634e7929541eC2318f3dCF7e';
const PAY_TO = '0x00000000000000000000000000000000000000Aa';
const KEY = `0x${'5e'.repeat(32)}`;
const FIRST = { EVM_RPC_URL: 'https://node.example/v2/', EVM_TOKEN: TOKEN, EVM_PAY_TO: PAY_TO };
const ENTRY = { rpcUrl: 'https://base.example', chainId: 8453, token: TOKEN, payTo: PAY_TO, walletKey: KEY };

const read = (variables: Record<string, string>): EvmConfig | undefined =>
  readEvm(z.object(evmEnvironment).parse(variables));
const networks = (...entries: object[]) => ({ EVM_NETWORKS: JSON.stringify(entries) });

/** What an operator is told. */
function errorOf(variables: Record<string, string>): string {
  try {
    read(variables);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('it was accepted');
}

test('nothing set is no evm rail', () => {
  expect(read({})).toBeUndefined();
});

test('the first network is spelled in variables of its own', () => {
  expect(read({ ...FIRST, EVM_WALLET_KEY: KEY, EVM_MIN_MCENTS: '250', EVM_MAX_FEE_GWEI: '3' })).toEqual({
    networks: [
      {
        rpcUrl: 'https://node.example/v2',
        chainId: 84_532,
        token: TOKEN.toLowerCase(),
        tokenName: 'USDC',
        tokenVersion: '2',
        payTo: PAY_TO.toLowerCase(),
        mover: { kind: 'wallet', walletKey: KEY, feeMaxWei: 3_000_000_000n },
        confirmations: 1,
        finalityBlocks: undefined,
        amountMin: 250n,
      },
    ],
  });
});

test('half a network names what is missing', () => {
  expect(errorOf({ EVM_RPC_URL: 'http://node.example' })).toContain(
    'EVM_TOKEN, EVM_PAY_TO, EVM_WALLET_KEY (or EVM_FACILITATOR_URL)',
  );
  expect(errorOf(FIRST)).toContain('EVM_WALLET_KEY (or EVM_FACILITATOR_URL)');
});

test('a facilitator stands in for the wallet, never beside it', () => {
  const facilitator = { EVM_FACILITATOR_URL: 'https://facilitator.example/' };
  const header = { EVM_FACILITATOR_HEADER: 'Authorization: Bearer a:b' };
  expect(read({ ...FIRST, ...facilitator, ...header })?.networks[0]?.mover).toEqual({
    kind: 'facilitator',
    url: 'https://facilitator.example',
    header: { name: 'Authorization', value: 'Bearer a:b' },
  });
  expect(errorOf({ ...FIRST, ...facilitator, EVM_WALLET_KEY: KEY })).toContain('exclude each other');
});

test('further networks follow the first, in order, as text or as a file', () => {
  const further = [
    ENTRY,
    { ...ENTRY, chainId: 10, walletKey: undefined, facilitatorUrl: 'https://f.example' },
  ];
  const folder = mkdtempSync(join(tmpdir(), 'evm-networks-'));
  const path = join(folder, 'networks.json');
  writeFileSync(path, JSON.stringify(further));
  try {
    for (const EVM_NETWORKS of [path, JSON.stringify(further)]) {
      const config = read({ ...FIRST, EVM_WALLET_KEY: KEY, EVM_NETWORKS });
      expect(config?.networks.map(({ chainId, mover }) => [chainId, mover.kind])).toEqual([
        [84_532, 'wallet'],
        [8453, 'wallet'],
        [10, 'facilitator'],
      ]);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  expect(read(networks(ENTRY))?.networks).toHaveLength(1);
});

test.each([
  [{ ...ENTRY, token: 'USDC' }, 'EVM_NETWORKS[1] (chainId 8453): token must be an address'],
  [{ ...ENTRY, confirmations: 0 }, 'EVM_NETWORKS[1] (chainId 8453): confirmations '],
  [{ ...ENTRY, minMcent: 5 }, 'EVM_NETWORKS[1] (chainId 8453): '],
  [{ ...ENTRY, walletKey: undefined }, 'must have one of walletKey and facilitatorUrl'],
  [{ ...ENTRY, facilitatorUrl: 'https://f.example' }, 'must have one of walletKey and facilitatorUrl'],
  [{}, 'EVM_NETWORKS[1]: rpcUrl '],
])('a wrong entry is named (%#)', (entry, message) => {
  expect(errorOf(networks({ ...ENTRY, chainId: 1 }, entry))).toContain(message);
});

test('the same token on the same network twice is refused, also against the first', () => {
  expect(errorOf(networks(ENTRY, { ...ENTRY, token: TOKEN.toLowerCase() }))).toContain('configured twice');
  expect(errorOf({ ...FIRST, EVM_WALLET_KEY: KEY, ...networks({ ...ENTRY, chainId: 84_532 }) })).toContain(
    'configured twice',
  );
});

test('what is no JSON is refused, and no error repeats a key', () => {
  for (const EVM_NETWORKS of [`[{"walletKey":"${KEY}"`, '/no/such/file.json', '{}', '7']) {
    expect(errorOf({ EVM_NETWORKS })).toMatch(/^EVM_NETWORKS (?:must be|is neither)/);
  }
  expect(errorOf(networks({ ...ENTRY, walletKey: `${KEY}00` }))).not.toContain('5e5e');
});
