import { expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';

const key = `0x${'1'.repeat(64)}`;
const address = `0x${'a'.repeat(40)}`;
const chain = { chainId: 8453, rpcUrl: 'https://node.example', versions: address, walletKey: key };
const read = (anchors: unknown, more: Record<string, string> = {}) =>
  readConfig({ NODE_ENV: 'test', ANCHORS: JSON.stringify(anchors), ...more }).provenance;

test('a chain to anchor on names its contracts and who signs', () => {
  expect(read([chain]).anchorChains).toEqual([
    {
      ...{ chainId: 8453, rpcUrl: 'https://node.example', finalityBlocks: undefined },
      ...{ contracts: { versions: address }, signer: { kind: 'key', key }, feeMaxWei: 100_000_000_000n },
    },
  ]);
  const { walletKey: _, ...keyless } = chain;
  const remote = { ...keyless, signerUrl: 'http://signer.example', signerAddress: address };
  expect(read([remote]).anchorChains[0]?.signer).toEqual({
    ...{ kind: 'remote', url: 'http://signer.example', address },
  });
});

test.each([
  ['no JSON', '[', /JSON array/],
  ['no contract', [{ ...chain, versions: undefined }], /must name a contract/],
  ['two signers', [{ ...chain, signerUrl: 'http://s.example', signerAddress: address }], /either walletKey/],
  ['half a signer', [{ ...chain, walletKey: undefined, signerUrl: 'http://s.example' }], /either walletKey/],
  ['one chain twice', [chain, chain], /chain 8453 twice/],
  ['a member nobody knows', [{ ...chain, gas: 1 }], /gas/],
])('anchors with %s are refused in one line, without a key in it', (_, anchors, reason) => {
  const text = typeof anchors === 'string' ? anchors : JSON.stringify(anchors);
  const attempt = () => readConfig({ NODE_ENV: 'test', ANCHORS: text });
  expect(attempt).toThrow(reason);
  expect(attempt).not.toThrow(key);
});

test('the wallet that settles payments is refused for anchors', () => {
  const evm = {
    ...{ EVM_RPC_URL: 'https://node.example', EVM_CHAIN_ID: '8453', EVM_TOKEN: address },
    ...{ EVM_TOKEN_NAME: 'USDC', EVM_TOKEN_VERSION: '2', EVM_PAY_TO: address, EVM_WALLET_KEY: key },
  };
  expect(() => read([chain], evm)).toThrow(/one of its own/);
  expect(read([{ ...chain, walletKey: `0x${'2'.repeat(64)}` }], evm).anchorChains).toHaveLength(1);
});

test('a witness is an address and a key', () => {
  const vkey = 'w.example/1+0a1b2c3d+BAAA';
  expect(read([], { WITNESSES: `https://w.example/ ${vkey},` }).witnesses).toEqual([
    { url: 'https://w.example', vkey },
  ]);
  expect(() => read([], { WITNESSES: 'https://w.example' })).toThrow(/<url> <vkey>/);
});
