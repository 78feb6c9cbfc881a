import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { silentLog } from '../../src/core/log.ts';
import { identifyProcess } from '../../src/db/embedded/process-identity.ts';
import { startAnvil } from '../harness/chain.ts';
import { startProcess, waitUntil } from '../harness/process.ts';

const holderSchema = z.object({ pid: z.number() });

describe('anvil', () => {
  test('two chains run side by side, each with keys of its own', async () => {
    const chains = await Promise.all([startAnvil({ log: silentLog }), startAnvil({ log: silentLog })]);
    const values = chains.flatMap((chain) => [
      chain.rpcUrl,
      chain.payTo,
      chain.payerPrivateKey,
      chain.gatewayWalletKey,
    ]);
    expect(new Set(values).size).toBe(8);
    await Promise.all(chains.map((chain) => chain.close()));
  });

  test('chain time passes without transactions when asked for', async () => {
    const chain = await startAnvil({ log: silentLog, blockTimeSeconds: 1 });
    const start = BigInt(String(await chain.rpc('eth_blockNumber')));
    await waitUntil(async () => BigInt(String(await chain.rpc('eth_blockNumber'))) > start + 1n);
    await chain.close();
  });

  test.each([
    ["by the kernel's parent-death signal", process.env.PATH ?? ''],
    ['by the watchdog where the kernel has none', '/nonexistent'],
  ])('it dies with a parent that was killed: %s', async (_how, path) => {
    const holder = startProcess({ program: 'hold-anvil.ts', env: { ...process.env, PATH: path } });
    const { pid } = holderSchema.parse(await holder.nextLine());
    expect(identifyProcess(pid)).toBeDefined();
    await holder.kill();
    await waitUntil(() => identifyProcess(pid) === undefined);
  });

  test('it ends with a parent that ends in order', async () => {
    const holder = startProcess({ program: 'hold-anvil.ts' });
    const { pid } = holderSchema.parse(await holder.nextLine());
    await holder.end();
    expect(identifyProcess(pid)).toBeUndefined();
  });
});
