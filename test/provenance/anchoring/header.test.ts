import { expect, test } from 'vitest';
import { callRpc, findAnvil, waitForAddress } from '../../../scripts/dev/anvil.ts';
import { spawnBound } from '../../../scripts/dev/bound-child.ts';
import { rebuildHeader } from '../../../src/provenance/anchors/evm/header.ts';

/** Block 0 of Ethereum, as any node answers it. */
const GENESIS = {
  hash: '0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3',
  parentHash: `0x${'0'.repeat(64)}`,
  sha3Uncles: '0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347',
  miner: `0x${'0'.repeat(40)}`,
  stateRoot: '0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544',
  transactionsRoot: '0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421',
  receiptsRoot: '0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421',
  logsBloom: `0x${'0'.repeat(512)}`,
  difficulty: '0x400000000',
  number: '0x0',
  gasLimit: '0x1388',
  gasUsed: '0x0',
  timestamp: '0x0',
  extraData: '0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa',
  mixHash: `0x${'0'.repeat(64)}`,
  nonce: '0x0000000000000042',
};

test('the header of block 0 of Ethereum is rebuilt to its hash', () => {
  expect(rebuildHeader(GENESIS, GENESIS.hash)).toMatch(/^0xf90214a0/);
});

test('a field that a node adds and the header does not have is left out', () => {
  const answer = { ...GENESIS, baseFeePerGas: '0x7', totalDifficulty: '0x1', size: '0x220' };
  expect(rebuildHeader(answer, GENESIS.hash)).toBe(rebuildHeader(GENESIS, GENESIS.hash));
});

test('a header that the fields do not give is not made up', () => {
  expect(rebuildHeader({ ...GENESIS, gasUsed: '0x1' }, GENESIS.hash)).toBeUndefined();
  const { mixHash: _, ...without } = GENESIS;
  expect(rebuildHeader(without, GENESIS.hash)).toBeUndefined();
  expect(rebuildHeader(null, GENESIS.hash)).toBeUndefined();
  expect(rebuildHeader({ ...GENESIS, nonce: 66 }, GENESIS.hash)).toBeUndefined();
});

test.each([
  ['berlin', 'nonce'],
  ['london', 'baseFeePerGas'],
  ['shanghai', 'withdrawalsRoot'],
  ['cancun', 'parentBeaconBlockRoot'],
  ['prague', 'requestsHash'],
])(
  'the headers of a chain with the rules of %s, up to their %s, are rebuilt to their hashes',
  async (hardfork, newest) => {
    const args = ['--host', '127.0.0.1', '--port', '0', '--accounts', '0', '--hardfork', hardfork];
    const child = await spawnBound({ command: findAnvil(), args });
    try {
      const rpcUrl = await waitForAddress(child);
      await callRpc(rpcUrl, 'anvil_mine', ['0x2']);
      const block = (await callRpc(rpcUrl, 'eth_getBlockByNumber', ['latest', false])) as { hash: string };
      expect(rebuildHeader(block, block.hash)).toBeDefined();
      expect(rebuildHeader({ ...block, [newest]: undefined }, block.hash)).toBeUndefined();
    } finally {
      await child.kill();
    }
  },
);
