import { createPublicClient, createWalletClient, type Hex, http, numberToHex, parseGwei } from 'viem';
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  createChainClient,
  readWalletHealth,
  type WriteRequest,
  type Writer,
} from '../../src/chain/index.ts';
import { anySignal, type ChainLab, startChainLab, until, type WriterOptions } from './lab.ts';

let lab: ChainLab;
let key: Hex;

beforeAll(async () => {
  lab = await startChainLab();
});
afterAll(() => lab.close());
beforeEach(async () => {
  key = generatePrivateKey();
  await lab.anvil.rpc('anvil_setBalance', [privateKeyToAddress(key), '0x56bc75e2d63100000']);
  await setBaseFee('1');
});
afterEach(async () => {
  lab.proxy.decide(() => 'pass');
  await setBaseFee('1');
  await lab.anvil.rpc('evm_setAutomine', [true]);
});

const writerOf = (options: WriterOptions = {}): Writer => lab.writer({ key, replaceMs: 0, ...options });
const toPayee = (ref: string): WriteRequest => ({ ref, to: lab.anvil.payTo, data: '0x', gasLimit: 21_000n });
const chain = () => createPublicClient({ transport: http(lab.anvil.rpcUrl), cacheTime: 0 });
const countOnChain = () => chain().getTransactionCount({ address: privateKeyToAddress(key) });

/** The next block costs this, and the newest one says so. */
async function setBaseFee(gwei: string): Promise<void> {
  await lab.anvil.rpc('anvil_setNextBlockBaseFeePerGas', [numberToHex(parseGwei(gwei))]);
  await lab.mine(1);
}

type Signings = { hash: Hex; raw: Hex; earlierHashes: Hex[]; nonce: bigint };

async function signingsOf(ref: string): Promise<Signings> {
  const [row] = await lab.database.sql<Signings[]>`
    SELECT hash, '0x' || encode(raw, 'hex') AS raw, earlier_hashes, nonce FROM chain_transaction WHERE ref = ${ref}`;
  if (row === undefined) throw new Error(`${ref} was never signed`);
  return row;
}

/** Sends and stops to wait as soon as it is stored, and known to the node where that hears of it. */
async function sendAndLeave(ref: string, options: WriterOptions & { isHeard?: boolean } = {}): Promise<void> {
  const { isHeard = true, ...rest } = options;
  const gone = new AbortController();
  const sending = writerOf(rest).send(toPayee(ref), AbortSignal.any([gone.signal, anySignal()]));
  await until(async () => {
    const signed = await signingsOf(ref).catch(() => undefined);
    if (!signed || !isHeard) return signed;
    return (await lab.anvil.rpc('eth_getTransactionByHash', [signed.hash])) ?? undefined;
  });
  gone.abort();
  expect((await sending).kind).toBe('unknown');
}

/** Signed while gas was cheap, in the pool, and too cheap for the chain by now. */
async function leaveBehind(ref: string): Promise<void> {
  await lab.anvil.rpc('evm_setAutomine', [false]);
  await sendAndLeave(ref);
  await setBaseFee('40');
  await lab.anvil.rpc('anvil_setNextBlockBaseFeePerGas', [numberToHex(parseGwei('40'))]);
}

test('a transaction with too low a fee is signed anew with the same nonce, and mined once', async () => {
  await leaveBehind('priced-out');
  expect(await countOnChain()).toBe(0);
  const writer = writerOf();
  expect((await writer.resume(anySignal())).open).toBe(1);
  const { hash, earlierHashes, nonce } = await signingsOf('priced-out');
  expect(earlierHashes).toHaveLength(1);
  expect(nonce).toBe(0n);
  await lab.mine(1);
  expect(await writer.send(toPayee('priced-out'), anySignal())).toMatchObject({ kind: 'mined', hash });
  expect(await countOnChain()).toBe(1);
});

test('a sender that waits replaces its own transaction, and whichever holds it up', async () => {
  await leaveBehind('holds-up');
  const sending = writerOf().send(toPayee('held-up'), anySignal());
  await until(async () => ((await signingsOf('holds-up')).earlierHashes.length > 0 ? true : undefined));
  await lab.anvil.rpc('evm_setAutomine', [true]);
  await lab.mine(1);
  expect((await sending).kind).toBe('mined');
  expect((await writerOf().send(toPayee('holds-up'), anySignal())).kind).toBe('mined');
  expect(await countOnChain()).toBe(2);
});

test('the cheaper signing is mined after all: it is the receipt, and the dearer one is never a second', async () => {
  await leaveBehind('cheap-wins');
  const cheap = await signingsOf('cheap-wins');
  lab.proxy.decide((method) => (method === 'eth_sendRawTransaction' ? 'refuse' : 'pass'));
  const writer = writerOf();
  await writer.resume(anySignal());
  expect((await signingsOf('cheap-wins')).earlierHashes).toEqual([cheap.hash]);
  await setBaseFee('1');
  // Another node still has the cheap one.
  await lab.anvil.rpc('eth_sendRawTransaction', [cheap.raw]);
  await lab.mine(1);
  expect(await countOnChain()).toBe(1);
  lab.proxy.decide(() => 'pass');
  expect(await writer.send(toPayee('cheap-wins'), anySignal())).toMatchObject({
    kind: 'mined',
    hash: cheap.hash,
  });
  expect(await countOnChain()).toBe(1);
  expect(await writer.resume(anySignal())).toMatchObject({ dropped: 0, open: 0 });
});

test('two gateways that replace at once sign one replacement', async () => {
  await leaveBehind('both');
  const other = writerOf({ sql: lab.openPool() });
  await Promise.all([writerOf().resume(anySignal()), other.resume(anySignal())]);
  expect((await signingsOf('both')).earlierHashes).toHaveLength(1);
  await lab.mine(1);
  expect((await other.send(toPayee('both'), anySignal())).kind).toBe('mined');
  expect(await countOnChain()).toBe(1);
});

test('a transaction that nodes dropped from their pool is sent again, as it was signed', async () => {
  await lab.anvil.rpc('evm_setAutomine', [false]);
  const writer = writerOf();
  await sendAndLeave('forgotten');
  const { hash } = await signingsOf('forgotten');
  await lab.anvil.rpc('anvil_dropTransaction', [hash]);
  await lab.mine(1);
  expect(await countOnChain()).toBe(0);
  await writer.resume(anySignal());
  await lab.mine(1);
  expect(await writer.send(toPayee('forgotten'), anySignal())).toMatchObject({ kind: 'mined', hash });
  expect((await signingsOf('forgotten')).earlierHashes).toEqual([]);
});

test('what offers enough is not replaced, however long it waits', async () => {
  await lab.anvil.rpc('evm_setAutomine', [false]);
  const writer = writerOf();
  await sendAndLeave('patient');
  for (let pass = 0; pass < 3; pass++) await writer.resume(anySignal());
  expect((await signingsOf('patient')).earlierHashes).toEqual([]);
});

test('gas beyond the limit signs nothing and replaces nothing', async () => {
  await leaveBehind('too-dear');
  const careful = writerOf({ feeMaxWei: parseGwei('20') });
  await careful.resume(anySignal());
  expect((await signingsOf('too-dear')).earlierHashes).toEqual([]);
  expect(await careful.send(toPayee('not-signed'), anySignal())).toMatchObject({
    kind: 'unknown',
    hash: undefined,
  });
  await expect(signingsOf('not-signed')).rejects.toThrow('never signed');
});

test('what a gateway stored and never sent is sent by the restarted one, in nonce order', async () => {
  lab.proxy.decide((method) => (method === 'eth_sendRawTransaction' ? 'refuse' : 'pass'));
  for (const ref of ['gap-a', 'gap-b', 'gap-c']) {
    await sendAndLeave(ref, { isHeard: false });
  }
  lab.proxy.decide(() => 'pass');
  const restarted = writerOf({ sql: lab.openPool() });
  await until(async () => ((await restarted.resume(anySignal())).open === 0 ? true : undefined));
  expect(await countOnChain()).toBe(3);
});

test('two gateways on one wallet: 20 sends, 20 consecutive nonces', async () => {
  const writers = [writerOf(), writerOf({ sql: lab.openPool() })];
  const outcomes = await Promise.all(
    writers.flatMap((writer, gateway) =>
      Array.from({ length: 10 }, (_, index) =>
        writer.send(toPayee(`shared-${gateway}-${index}`), anySignal()),
      ),
    ),
  );
  expect(outcomes.map(({ kind }) => kind)).toEqual(Array(20).fill('mined'));
  expect(await countOnChain()).toBe(20);
});

test('a chain without final blocks is final at the depth that was configured', async () => {
  lab.proxy.decide((method) => (method === 'eth_sendRawTransaction' ? 'refuse' : 'pass'));
  const writer = writerOf({ finalityBlocks: 6 });
  await sendAndLeave('overtaken-deep', { isHeard: false });
  // The wallet is used elsewhere, and five blocks lie on that: the node would call it final.
  await sendElsewhere();
  await lab.mine(5);
  expect((await writer.resume(anySignal())).dropped).toBe(0);
  await lab.mine(1);
  expect((await writer.resume(anySignal())).dropped).toBe(1);
});

async function sendElsewhere(): Promise<void> {
  const account = privateKeyToAccount(key);
  const wallet = createWalletClient({ account, chain: baseSepolia, transport: http(lab.anvil.rpcUrl) });
  const hash = await wallet.sendTransaction({ to: lab.anvil.payTo });
  await chain().waitForTransactionReceipt({ hash, pollingInterval: 20 });
}

test('a wallet tells how many transactions it still pays for', async () => {
  const client = createChainClient({
    ...{ chainId: lab.anvil.chainId, rpcUrl: lab.proxy.url, timeouts: { callMs: 5_000 } },
  });
  const address = privateKeyToAddress(key);
  const look = () => readWalletHealth(client, { address, gas: 100_000n, transactionsMin: 50 }, anySignal());
  const setBalance = (wei: bigint) => lab.anvil.rpc('anvil_setBalance', [address, numberToHex(wei)]);
  expect((await look()).kind).toBe('ok');
  const { baseFeePerGas } = await chain().getBlock();
  const price = 200_000n * (baseFeePerGas ?? 0n);
  await setBalance(price * 49n);
  expect(await look()).toEqual({ kind: 'low', balanceWei: price * 49n, transactionsLeft: 49n });
  await setBalance(price - 1n);
  expect((await look()).kind).toBe('empty');
});
