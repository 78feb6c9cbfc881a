import { privateKeyToAddress } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createChainClient } from '../../../src/chain/index.ts';
import type { Eip3009Form } from '../../../src/payments/form.ts';
import { createPayerReader } from '../../../src/payments/rails/evm/payer-reader.ts';
import { anySignal, authorise, intentOf, offerOf, quoteOf } from './conformance.ts';
import { type EvmLab, startEvmLab } from './evm-lab.ts';
import { deployTestWallet } from './test-wallet.ts';

let lab: EvmLab;
beforeAll(async () => {
  lab = await startEvmLab();
});
afterAll(() => lab.close());
afterEach(() => lab.chain.proxy.decide(() => 'pass'));

function createReader() {
  const { proxy, anvil } = lab.chain;
  return createPayerReader(
    createChainClient({ chainId: anvil.chainId, rpcUrl: proxy.url, timeouts: { callMs: 5_000 } }),
  );
}

/** What nodes are asked by one reading. */
async function countCalls(work: () => Promise<unknown>): Promise<number> {
  const methods = ['eth_call', 'eth_getCode'];
  const count = () => methods.reduce((sum, method) => sum + lab.chain.proxy.count(method), 0);
  const before = count();
  await work();
  return count() - before;
}

const sign = async (key: `0x${string}`): Promise<Eip3009Form> =>
  lab.sign(await offerOf(lab.rail(), quoteOf()), { key });

test('a check of a payment is one call of the node', async () => {
  const rail = lab.rail();
  const quote = quoteOf();
  const form = await lab.sign(await offerOf(rail, quote));
  expect(await countCalls(() => rail.verify(form, quote, anySignal()))).toBe(1);
});

test('one call reads what three do: the balance, the nonce and the code', async () => {
  const key = await lab.createPayer(123_456n);
  const form = await sign(key);
  const read = createReader();
  expect(await read(form, anySignal())).toEqual({ isUsed: false, balance: 123_456n, hasCode: false });
  const rail = lab.rail();
  await rail.settle(intentOf(await authorise(rail, form, quoteOf())), anySignal());
  expect(await read(form, anySignal())).toEqual({ isUsed: true, balance: 120_956n, hasCode: false });
  const wallet = await deployTestWallet(lab.chain.anvil, key);
  await lab.chain.anvil.mint(wallet, 7n);
  const byWallet = { ...form, from: wallet.toLowerCase() as `0x${string}` };
  expect(await countCalls(async () => read(byWallet, anySignal()))).toBe(1);
  expect(await read(byWallet, anySignal())).toEqual({ isUsed: false, balance: 7n, hasCode: true });
});

test('where there is no token nothing is read, and nothing is guessed', async () => {
  const form = await sign(await lab.createPayer(10n));
  const nobody = privateKeyToAddress(await lab.createPayer(0n)).toLowerCase() as `0x${string}`;
  await expect(createReader()({ ...form, asset: nobody }, anySignal())).rejects.toThrow();
});

test('a node that runs no such programs is asked by plain calls, and soon by those alone', async () => {
  const form = await sign(await lab.createPayer(123_456n));
  const read = createReader();
  const expected = { isUsed: false, balance: 123_456n, hasCode: false };
  for (let round = 0; round < 3; round++) {
    let isFirst = true;
    lab.chain.proxy.decide((method) => {
      if (method !== 'eth_call' || !isFirst) return 'pass';
      isFirst = false;
      return { result: '0x' };
    });
    expect(await read(form, anySignal())).toEqual(expected);
  }
  lab.chain.proxy.decide(() => 'pass');
  expect(await countCalls(() => read(form, anySignal()))).toBe(3);
});

test('a node that is down is no answer', async () => {
  const form = await sign(await lab.createPayer(10n));
  lab.chain.proxy.decide(() => 'refuse');
  await expect(createReader()(form, anySignal())).rejects.toThrow();
});

test('a trial that failed on one node is no refusal while the token takes it on another', async () => {
  const rail = lab.rail();
  const quote = quoteOf();
  const intent = intentOf(await authorise(rail, await lab.sign(await offerOf(rail, quote)), quote));
  // The node that estimates has seen the nonce used; the one that is read is a block behind.
  const error = { code: 3, message: 'execution reverted: FiatTokenV2: authorization is used or canceled' };
  lab.chain.proxy.decide((method) => (method === 'eth_estimateGas' ? { error } : 'pass'));
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  lab.chain.proxy.decide(() => 'pass');
  expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
});
