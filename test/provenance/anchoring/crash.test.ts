import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { until } from '../../chain/lab.ts';
import { type AnchorLab, type LabChain, openLab, renewChain, startLabChain } from './lab.ts';

let node: LabChain;
let chain: LabChain;
let lab: AnchorLab;

beforeAll(async () => {
  node = await startLabChain();
});
afterAll(() => node.close());
beforeEach(async () => {
  chain = await renewChain(node);
  lab = await openLab(chain);
});
afterEach(() => lab.close());

type Crash = { kill(): Promise<void>; halted: Promise<unknown> };

/** A gateway in a process of its own, to be killed. */
function startGateway(haltAt: string): Crash {
  const script = fileURLToPath(new URL('./crashing-gateway.ts', import.meta.url));
  const { walletKey, contracts, chainId, proxy } = chain;
  const input = { chainId, contracts, walletKey, haltAt, rpcUrl: proxy.url };
  const parts = { ...input, databaseUrl: lab.database.url, keyPem: lab.keyPem };
  const child = spawn(process.execPath, ['--import', 'tsx', script], {
    env: { ...process.env, CRASHING_GATEWAY: JSON.stringify(parts) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const ended = exited.then(() => Promise.reject(new Error('the gateway ended before it halted')));
  const halted = Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended]);
  // Whoever waits for where it halts hears of it; being killed later is no fault.
  halted.catch(() => {});
  return {
    halted,
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Another gateway goes on: in the end the chain has one anchor of what was appended, and took one transaction. */
async function expectOneAnchor(): Promise<void> {
  chain.proxy.decide(() => 'pass');
  const gateway = lab.gateway();
  await gateway.logs.versions.sign();
  await gateway.settle();
  expect(await chain.readAnchors()).toMatchObject([{ treeSize: 5n }]);
  expect(await chain.countTransactions()).toBe(1);
  const open = (await lab.jobs()).filter(({ state }) => state !== 'superseded');
  expect(open).toMatchObject([{ state: 'final', treeSize: 5n }]);
  const [anchor] = await gateway.anchoring.anchors.findCovering({ log: 'versions', leafIndex: 4 });
  expect(anchor?.evidence).toBeDefined();
}

test.each([
  ['append', [], 0],
  ['sign', [], 0],
  ['plan', ['planned'], 0],
  ['mined', ['planned', 'sent'], 1],
  ['confirm', ['mined'], 1],
])('crash after %s: exactly one anchor', async (haltAt, states, transactions) => {
  const child = startGateway(haltAt);
  await child.halted;
  expect(states).toEqual(expect.arrayContaining((await lab.jobs()).map(({ state }) => state)));
  expect(await chain.countTransactions()).toBe(transactions);
  await child.kill();
  await expectOneAnchor();
});

test('crash between sign-tx and broadcast: exactly one anchor', async () => {
  chain.proxy.decide((method) => (method === 'eth_sendRawTransaction' ? 'hold' : 'pass'));
  const before = chain.proxy.count('eth_sendRawTransaction');
  const child = startGateway('never');
  await until(async () => chain.proxy.count('eth_sendRawTransaction') > before || undefined);
  await child.kill();
  const stored = await lab.database.sql`SELECT state FROM chain_transaction`;
  expect(stored).toMatchObject([{ state: 'signed' }]);
  expect(await chain.countTransactions()).toBe(0);
  await expectOneAnchor();
});

test('crash between broadcast and its answer: exactly one anchor', async () => {
  let isSent = false;
  chain.proxy.decide((method) => {
    if (method !== 'eth_sendRawTransaction') return isSent ? 'hold' : 'pass';
    isSent = true;
    return 'swallow';
  });
  const child = startGateway('never');
  await until(async () => (await chain.countTransactions()) === 1 || undefined);
  await child.kill();
  expect(await lab.jobs()).toMatchObject([{ state: 'planned' }]);
  await expectOneAnchor();
});
