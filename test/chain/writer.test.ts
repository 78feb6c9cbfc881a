import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createWalletClient, encodeFunctionData, type Hex, http, parseAbi } from 'viem';
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts';
import { getTransactionCount, waitForTransactionReceipt } from 'viem/actions';
import { baseSepolia } from 'viem/chains';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { WriteRequest, Writer } from '../../src/chain/index.ts';
import { anySignal, type ChainLab, startChainLab, until, type WriterOptions } from './lab.ts';

let lab: ChainLab;
/** A wallet of its own for each test, so that none waits for another's nonces. */
let key: Hex;

beforeAll(async () => {
  lab = await startChainLab();
});
afterAll(() => lab.close());

beforeEach(async () => {
  key = generatePrivateKey();
  await lab.anvil.rpc('anvil_setBalance', [privateKeyToAddress(key), '0x56bc75e2d63100000']);
});
afterEach(() => lab.proxy.decide(() => 'pass'));

const writerOf = (options: WriterOptions = {}): Writer => lab.writer({ key, ...options });
const toPayee = (ref: string): WriteRequest => ({ ref, to: lab.anvil.payTo, data: '0x', gasLimit: 21_000n });
const onBroadcast = (fate: 'refuse' | 'swallow' | 'hold') => (method: string) =>
  method === 'eth_sendRawTransaction' ? fate : 'pass';

function countOnChain(): Promise<number> {
  return getTransactionCount(walletClient(), { address: privateKeyToAddress(key) });
}

function walletClient() {
  return createWalletClient({
    account: privateKeyToAccount(key),
    chain: baseSepolia,
    transport: http(lab.anvil.rpcUrl),
  });
}

/** A transaction of the same wallet that the writer knows nothing of, mined. */
async function sendOutside(): Promise<void> {
  const client = walletClient();
  await waitForTransactionReceipt(client, {
    hash: await client.sendTransaction({ to: lab.anvil.payTo }),
    pollingInterval: 20,
  });
}

async function statesOf(ref: string): Promise<string[]> {
  const rows = await lab.database.sql<{ state: string }[]>`
    SELECT state FROM chain_transaction WHERE ref = ${ref} ORDER BY nonce`;
  return rows.map((row) => row.state);
}

test('30 sends in parallel are all mined, with consecutive nonces', async () => {
  const writer = writerOf();
  const outcomes = await Promise.all(
    Array.from({ length: 30 }, (_, index) => writer.send(toPayee(`many-${index}`), anySignal())),
  );
  expect(outcomes.map((outcome) => outcome.kind)).toEqual(Array(30).fill('mined'));
  const rows = await lab.database.sql<{ nonce: bigint; state: string }[]>`
    SELECT nonce, state FROM chain_transaction WHERE wallet = ${writer.address} ORDER BY nonce`;
  expect(rows.map((row) => row.nonce)).toEqual(Array.from({ length: 30 }, (_, index) => BigInt(index)));
  expect(new Set(rows.map((row) => row.state))).toEqual(new Set(['mined']));
  expect(await countOnChain()).toBe(30);
});

test('one ref sent 20 times at once by two gateways is one transaction', async () => {
  const writers = [writerOf(), writerOf({ sql: lab.openPool() })];
  const outcomes = await Promise.all(
    writers.flatMap((writer) =>
      Array.from({ length: 10 }, () => writer.send(toPayee('same-ref'), anySignal())),
    ),
  );
  const hashes = outcomes.map((outcome) => (outcome.kind === 'mined' ? outcome.hash : outcome.kind));
  expect(new Set(hashes).size).toBe(1);
  expect(await countOnChain()).toBe(1);
});

test('a ref that was mined answers the same again, with its costs, and sends nothing', async () => {
  const first = await writerOf().send(toPayee('again'), anySignal());
  const broadcasts = lab.proxy.count('eth_sendRawTransaction');
  const second = await writerOf().send(toPayee('again'), anySignal());
  expect(second).toEqual(first);
  expect(second).toMatchObject({ kind: 'mined', gasUsed: 21_000n });
  expect(lab.proxy.count('eth_sendRawTransaction')).toBe(broadcasts);
  expect(await writerOf().find('never-sent', anySignal())).toBeUndefined();
  expect(await writerOf().follow('never-sent', anySignal())).toBeUndefined();
});

test('a reverted transaction is told with what it cost', async () => {
  const data = encodeFunctionData({
    abi: parseAbi(['function transfer(address to, uint256 value) returns (bool)']),
    args: [lab.anvil.payTo, 1n],
  });
  const request = { ref: 'reverts', to: lab.anvil.token, data, gasLimit: 100_000n };
  const outcome = await writerOf().send(request, anySignal());
  expect(outcome.kind).toBe('reverted');
  if (outcome.kind !== 'reverted') return;
  expect(outcome.feeWei).toBe(outcome.gasUsed * outcome.effectiveGasPrice);
  expect(outcome.feeWei).toBeGreaterThan(0n);
  expect(await statesOf('reverts')).toEqual(['reverted']);
});

test('a gateway killed between storing and broadcasting: resume sends it once', async () => {
  lab.proxy.decide(onBroadcast('hold'));
  const before = lab.proxy.count('eth_sendRawTransaction');
  const script = fileURLToPath(new URL('./sender-process.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script], {
    env: {
      ...process.env,
      DATABASE: lab.database.url,
      RPC: lab.proxy.url,
      CHAIN_ID: String(lab.anvil.chainId),
      KEY: key,
      TO: lab.anvil.payTo,
      REF: 'killed',
    },
    stdio: 'ignore',
  });
  // The proxy holds the broadcast back: stored, and the chain has not seen it.
  await until(async () => (lab.proxy.count('eth_sendRawTransaction') > before ? true : undefined));
  child.kill('SIGKILL');
  await once(child, 'exit');
  lab.proxy.decide(() => 'pass');
  expect(await statesOf('killed')).toEqual(['signed']);
  expect(await countOnChain()).toBe(0);

  const writer = writerOf();
  expect(await writer.resume(anySignal())).toEqual({ mined: 0, reverted: 0, dropped: 0, open: 1 });
  await until(async () => ((await writer.resume(anySignal())).mined === 1 ? true : undefined));
  expect(await writer.resume(anySignal())).toEqual({ mined: 0, reverted: 0, dropped: 0, open: 0 });
  expect(await statesOf('killed')).toEqual(['mined']);
  expect(await countOnChain()).toBe(1);
});

test('the chain is down before the broadcast: unknown, and a later send moves once', async () => {
  lab.proxy.decide(() => 'refuse');
  const first = await writerOf({ receiptMs: 500 }).send(toPayee('down'), anySignal());
  expect(first).toMatchObject({ kind: 'unknown', hash: undefined });
  lab.proxy.decide(onBroadcast('refuse'));
  const second = await writerOf({ receiptMs: 500 }).send(toPayee('down'), anySignal());
  expect(second.kind).toBe('unknown');
  expect(await statesOf('down')).toEqual(['signed']);
  lab.proxy.decide(() => 'pass');
  const third = await writerOf().send(toPayee('down'), anySignal());
  expect(third.kind).toBe('mined');
  expect(await countOnChain()).toBe(1);
});

test('the answer to the broadcast is lost: the receipt still tells that it was mined', async () => {
  lab.proxy.decide(onBroadcast('swallow'));
  const outcome = await writerOf().send(toPayee('lost-answer'), anySignal());
  expect(outcome.kind).toBe('mined');
  expect(await countOnChain()).toBe(1);
});

test('a caller who stops waiting learns that it is unknown, and the transaction stays one', async () => {
  lab.proxy.decide(onBroadcast('refuse'));
  const stop = new AbortController();
  const sending = writerOf().send(toPayee('stopped'), stop.signal);
  await until(async () => ((await statesOf('stopped')).length === 1 ? true : undefined));
  stop.abort();
  expect((await sending).kind).toBe('unknown');
  lab.proxy.decide(() => 'pass');
  expect((await writerOf().send(toPayee('stopped'), anySignal())).kind).toBe('mined');
  expect(await countOnChain()).toBe(1);
});

test('a wallet that was used elsewhere meanwhile goes on after it', async () => {
  await writerOf().send(toPayee('ours-1'), anySignal());
  await sendOutside();
  const outcome = await writerOf().send(toPayee('ours-2'), anySignal());
  expect(outcome.kind).toBe('mined');
  expect(await countOnChain()).toBe(3);
});

test('a nonce that a dead gateway left open is filled by the next sender', async () => {
  lab.proxy.decide(onBroadcast('refuse'));
  await writerOf({ receiptMs: 300 }).send(toPayee('gap-1'), anySignal());
  await writerOf({ receiptMs: 300 }).send(toPayee('gap-2'), anySignal());
  lab.proxy.decide(() => 'pass');
  const outcome = await writerOf().send(toPayee('after-gap'), anySignal());
  expect(outcome.kind).toBe('mined');
  expect(await countOnChain()).toBe(3);
});

test('a transaction whose nonce went elsewhere for good is dropped, and its ref gets a new one', async () => {
  lab.proxy.decide(onBroadcast('refuse'));
  await writerOf({ receiptMs: 300 }).send(toPayee('overtaken'), anySignal());
  lab.proxy.decide(() => 'pass');
  await sendOutside();
  expect((await writerOf().resume(anySignal())).dropped).toBe(0);
  await lab.mine(5);
  expect((await writerOf().resume(anySignal())).dropped).toBe(1);
  expect(await writerOf().find('overtaken', anySignal())).toBeUndefined();
  expect((await writerOf().send(toPayee('overtaken'), anySignal())).kind).toBe('mined');
  expect(await statesOf('overtaken')).toEqual(['dropped', 'mined']);
  expect(await countOnChain()).toBe(2);
});

test('a transaction that a reorganisation took out is mined again', async () => {
  await lab.mine(3);
  const writer = writerOf();
  const first = await writer.send(toPayee('reorged'), anySignal());
  expect(first.kind).toBe('mined');
  await lab.anvil.rpc('anvil_rollback', [1]);
  expect(await countOnChain()).toBe(0);
  await writer.resume(anySignal());
  await until(async () => ((await countOnChain()) === 1 ? true : undefined));
  expect((await writer.send(toPayee('reorged'), anySignal())).kind).toBe('mined');
  expect(await countOnChain()).toBe(1);
});

test('a transaction that a reorganisation took out and whose nonce went elsewhere for good gets a new one', async () => {
  await lab.mine(3);
  const writer = writerOf();
  expect((await writer.send(toPayee('ousted'), anySignal())).kind).toBe('mined');
  await lab.anvil.rpc('anvil_rollback', [1]);
  await sendOutside();
  expect(await countOnChain()).toBe(1);
  // Another reorganisation could still bring it back.
  expect((await writer.find('ousted', anySignal()))?.kind).toBe('unknown');
  await writer.resume(anySignal());
  expect(await statesOf('ousted')).toEqual(['mined']);
  await lab.mine(5);
  expect(await writer.find('ousted', anySignal())).toBeUndefined();
  expect((await writer.send(toPayee('ousted'), anySignal())).kind).toBe('mined');
  expect(await statesOf('ousted')).toEqual(['dropped', 'mined']);
  expect(await countOnChain()).toBe(2);
});

test('a sender that waits for what a reorganisation took out for good gives it up', async () => {
  await lab.mine(3);
  const writer = writerOf({ receiptMs: 4_000 });
  await writer.send(toPayee('ousted-late'), anySignal());
  await lab.anvil.rpc('anvil_rollback', [1]);
  await sendOutside();
  await lab.mine(5);
  expect((await writer.send(toPayee('ousted-late'), anySignal())).kind).toBe('unknown');
  expect((await writerOf().send(toPayee('ousted-late'), anySignal())).kind).toBe('mined');
  expect(await statesOf('ousted-late')).toEqual(['dropped', 'mined']);
});

test('a node that forgot a receipt makes nothing be sent twice', async () => {
  const writer = writerOf();
  await writer.send(toPayee('forgotten-receipt'), anySignal());
  await lab.mine(10);
  lab.proxy.decide((method) => (method === 'eth_getTransactionReceipt' ? { result: null } : 'pass'));
  expect((await writer.find('forgotten-receipt', anySignal()))?.kind).toBe('unknown');
  await writer.resume(anySignal());
  lab.proxy.decide(() => 'pass');
  expect(await statesOf('forgotten-receipt')).toEqual(['mined']);
  expect((await writer.send(toPayee('forgotten-receipt'), anySignal())).kind).toBe('mined');
  expect(await countOnChain()).toBe(1);
});

test('a transaction counts as mined only as deep as configured', async () => {
  const writer = writerOf({ confirmations: 3, receiptMs: 400 });
  expect((await writer.send(toPayee('deep'), anySignal())).kind).toBe('unknown');
  await lab.mine(2);
  expect((await writer.send(toPayee('deep'), anySignal())).kind).toBe('mined');
});
