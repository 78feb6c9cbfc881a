import {
  createWalletClient,
  type Hex,
  http,
  numberToHex,
  parseGwei,
  parseTransaction,
  type TransactionSerializedEIP1559,
} from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
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
afterEach(async () => {
  await chain.anvil.rpc('evm_setAutomine', [true]);
  await chain.setBaseFee(1);
  await lab.close();
});

const stateOf = async () => (await lab.jobs()).map(({ state }) => state);
const readSigned = () =>
  lab.database.sql<{ hash: Hex; raw: Hex; earlierHashes: Hex[]; nonce: bigint; state: string }[]>`
    SELECT hash, '0x' || encode(raw, 'hex') AS raw, earlier_hashes, nonce, state FROM chain_transaction
    ORDER BY nonce`;

test('fee spike: what was signed while gas was cheap is replaced at the same nonce, and mined once', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  await chain.anvil.rpc('evm_setAutomine', [false]);
  await gateway.tick();
  expect(await stateOf()).toEqual(['sent']);
  const [cheap] = await readSigned();
  await chain.setBaseFee(40);
  await chain.anvil.rpc('anvil_setNextBlockBaseFeePerGas', [numberToHex(parseGwei('40'))]);
  await gateway.tick();
  const [dear] = await readSigned();
  expect(dear).toMatchObject({ nonce: cheap?.nonce, earlierHashes: [cheap?.hash] });
  const feeOf = (raw: Hex | undefined) =>
    parseTransaction((raw ?? '0x') as TransactionSerializedEIP1559).maxFeePerGas ?? 0n;
  expect(feeOf(dear?.raw)).toBeGreaterThanOrEqual((feeOf(cheap?.raw) * 9n) / 8n);
  await chain.anvil.rpc('evm_setAutomine', [true]);
  await gateway.settle();
  expect(await stateOf()).toEqual(['final']);
  expect(await chain.countTransactions()).toBe(1);
  const [anchor] = await gateway.anchoring.anchors.list({ rowsMax: 1 });
  expect(anchor?.mined?.txHash).toBe(dear?.hash);
});

test('a fee above the cap: nothing is signed, the status says so, and it goes on when gas is cheaper', async () => {
  const gateway = lab.gateway({ chain: { feeMaxWei: parseGwei('5') } });
  await gateway.tick();
  await gateway.grow(3);
  await chain.setBaseFee(80);
  await gateway.tick();
  expect(await stateOf()).toEqual(['planned']);
  expect(await readSigned()).toEqual([]);
  const detail = expect.stringMatching(/gas costs \d+ wei, at most 5000000000 is paid/);
  expect(await gateway.anchoring.anchors.status()).toMatchObject([
    { log: 'versions', health: { kind: 'waiting', detail } },
    { log: 'receipts' },
  ]);
  await chain.setBaseFee(1);
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
});

test('a fee that rose above the cap after signing: it stays sent, and the status says what it waits for', async () => {
  const gateway = lab.gateway({ chain: { feeMaxWei: parseGwei('5') } });
  await gateway.tick();
  await gateway.grow(3);
  await chain.anvil.rpc('evm_setAutomine', [false]);
  await gateway.tick();
  await chain.setBaseFee(80);
  await chain.anvil.rpc('anvil_setNextBlockBaseFeePerGas', [numberToHex(parseGwei('80'))]);
  await gateway.tick();
  expect(await stateOf()).toEqual(['sent']);
  expect(gateway.anchoring.health().anchor_84532).toMatch(/not mined yet: gas costs .* at most 5 is paid/);
  await chain.setBaseFee(1);
  await chain.anvil.rpc('evm_setAutomine', [true]);
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
  expect(await chain.countTransactions()).toBe(1);
});

test('drop: a transaction that the node forgot is broadcast again, the same bytes', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  await chain.anvil.rpc('evm_setAutomine', [false]);
  await gateway.tick();
  const [sent] = await readSigned();
  await chain.anvil.rpc('anvil_dropTransaction', [sent?.hash]);
  await chain.mine(2);
  expect(await chain.readAnchors()).toEqual([]);
  await chain.anvil.rpc('evm_setAutomine', [true]);
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
  expect((await readSigned()).map(({ hash }) => hash)).toEqual([sent?.hash]);
});

test('a nonce that went to a foreign transaction: the root is signed anew, and anchored once', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  chain.proxy.decide((method) => (method === 'eth_sendRawTransaction' ? 'refuse' : 'pass'));
  await gateway.tick();
  expect(await stateOf()).toEqual(['sent']);
  const wallet = createWalletClient({
    account: privateKeyToAccount(chain.walletKey),
    ...{ chain: { ...baseSepolia, id: chain.chainId }, transport: http(chain.anvil.rpcUrl) },
  });
  await wallet.sendTransaction({ to: wallet.account.address, value: 0n, nonce: 0 });
  chain.proxy.decide(() => 'pass');
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
  expect(await stateOf()).toEqual(['final']);
  expect((await readSigned()).map(({ state }) => state)).toEqual(['dropped', 'mined']);
});

test('a wallet without funds, or without the right to anchor: nothing is signed, and the status says which', async () => {
  const poor = lab.gateway();
  await chain.anvil.rpc('anvil_setBalance', [privateKeyToAccount(chain.walletKey).address, '0x0']);
  await poor.tick();
  await poor.grow(3);
  await poor.tick();
  expect(poor.anchoring.health().anchor_84532).toContain('cannot pay for an anchor');
  const stranger = lab.gateway({ chain: { account: chain.anvil.gatewayWalletKey } });
  await stranger.tick();
  expect(stranger.anchoring.health().anchor_84532).toContain('NotAnchorer');
  expect(await readSigned()).toEqual([]);
});

test('a transaction that is mined and does nothing is given up, and the root is planned anew', async () => {
  let now = Date.now();
  const gateway = lab.gateway({ clock: { now: () => new Date(now) }, everyMs: 3_600_000 });
  await gateway.tick();
  await gateway.grow(3);
  await chain.anvil.rpc('evm_setAutomine', [false]);
  await gateway.tick();
  // The gas that it was signed with no longer does.
  const [{ raw } = { raw: '0x' as Hex }] = await readSigned();
  const { to, data, nonce } = parseTransaction(raw as TransactionSerializedEIP1559);
  const spoiled = await privateKeyToAccount(chain.walletKey).signTransaction({
    ...{ type: 'eip1559', chainId: chain.chainId, nonce: nonce ?? 0, gas: 40_000n },
    ...{
      ...(to && { to }),
      data: data ?? '0x',
      maxFeePerGas: parseGwei('90'),
      maxPriorityFeePerGas: parseGwei('9'),
    },
  });
  const { keccak256 } = await import('viem');
  await lab.database.sql`
    UPDATE chain_transaction SET hash = ${keccak256(spoiled)}, raw = ${Buffer.from(spoiled.slice(2), 'hex')}`;
  await chain.anvil.rpc('eth_sendRawTransaction', [spoiled]);
  await chain.mine(1);
  await chain.anvil.rpc('evm_setAutomine', [true]);
  await gateway.tick();
  expect(await stateOf()).toEqual(['superseded']);
  await gateway.settle();
  expect(await chain.readAnchors()).toEqual([]);
  now += 60_000;
  await gateway.settle();
  expect(await stateOf()).toEqual(['superseded', 'final']);
  expect(await chain.readAnchors()).toHaveLength(1);
});
