import { getBalance, getBlockNumber } from 'viem/actions';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createChainClient, isDeepEnough, readFinality } from '../../src/chain/index.ts';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { type RpcProxy, startRpcProxy } from './rpc-proxy.ts';

let anvil: Anvil;
let proxy: RpcProxy;

beforeAll(async () => {
  anvil = await startAnvil({ log: silentLog });
  proxy = await startRpcProxy(anvil.rpcUrl);
});
afterAll(async () => {
  await proxy.close();
  await anvil.close();
});

const clientWith = (callMs: number, path = '') =>
  createChainClient({ chainId: anvil.chainId, rpcUrl: `${proxy.url}${path}`, timeouts: { callMs } });

test('a node that does not answer is given up after the configured time', async () => {
  proxy.decide(() => 'hold');
  const startedAt = performance.now();
  await expect(getBlockNumber(clientWith(300).within(AbortSignal.timeout(20_000)))).rejects.toThrow();
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test('a caller who stops does not wait for the node', async () => {
  proxy.decide(() => 'hold');
  const stop = new AbortController();
  const looking = getBlockNumber(clientWith(20_000).within(stop.signal));
  stop.abort();
  await expect(looking).rejects.toThrow();
});

test('a failing call is tried three times and no more', async () => {
  proxy.decide(() => 'refuse');
  const before = proxy.count('eth_getBalance');
  const rpc = clientWith(5_000).within(AbortSignal.timeout(20_000));
  await expect(getBalance(rpc, { address: anvil.payTo })).rejects.toThrow();
  expect(proxy.count('eth_getBalance') - before).toBe(3);
});

test('the key in a node address does not get into an error', async () => {
  proxy.decide(() => 'refuse');
  const rpc = clientWith(1_000, '/v2/secret-key').within(AbortSignal.timeout(20_000));
  const error = await getBalance(rpc, { address: anvil.payTo }).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(Error);
  const seen: unknown[] = [];
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    seen.push({ ...at, message: at.message, stack: at.stack });
  }
  expect(JSON.stringify(seen)).not.toContain('secret-key');
});

test('two looks at the block number are two answers, never one from a cache', async () => {
  proxy.decide(() => 'pass');
  const rpc = clientWith(5_000).within(AbortSignal.timeout(20_000));
  const before = await getBlockNumber(rpc);
  await anvil.rpc('anvil_mine', ['0x3']);
  expect(await getBlockNumber(rpc)).toBe(before + 3n);
});

test('what is final lies behind what is newest', async () => {
  proxy.decide(() => 'pass');
  await anvil.rpc('anvil_mine', ['0x5']);
  const { latest, finalized } = await readFinality(clientWith(5_000), AbortSignal.timeout(20_000));
  expect(latest.number - finalized.number).toBe(2n);
  expect(finalized.timestamp.getTime()).toBeLessThanOrEqual(latest.timestamp.getTime());
  expect(isDeepEnough({ blockNumber: latest.number, latest: latest.number, confirmations: 1 })).toBe(true);
  expect(isDeepEnough({ blockNumber: latest.number, latest: latest.number, confirmations: 2 })).toBe(false);
});
