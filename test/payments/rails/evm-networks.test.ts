import { readFile } from 'node:fs/promises';
import { encodeFunctionData, parseAbi } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { artifactPath } from '../../../scripts/contracts.ts';
import { type Log, silentLog } from '../../../src/core/log.ts';
import { millicents } from '../../../src/core/money.ts';
import { createEvmRail } from '../../../src/payments/rails/evm/index.ts';
import { type RpcProxy, startRpcProxy } from '../../chain/rpc-proxy.ts';
import { anySignal, authorise, describeRail, expectOffer, intentOf, quoteOf } from './conformance.ts';
import { type EvmLab, startEvmLab } from './evm-lab.ts';

const OTHER_TOKEN = '0x00000000000000000000000000000000000d011a';
const MINTER = '0x0000000000000000000000000000000000031170';

/** The chain with a second dollar token that the payer owns too, behind a node of its own. */
async function startTwoTokens() {
  const lab = await startEvmLab();
  const { anvil } = lab.chain;
  const artifact = JSON.parse(await readFile(artifactPath('TestUsdc'), 'utf8'));
  const { deployedBytecode } = z.object({ deployedBytecode: z.string() }).parse(artifact);
  await anvil.rpc('anvil_setCode', [OTHER_TOKEN, deployedBytecode]);
  const data = encodeFunctionData({
    abi: parseAbi(['function mint(address to, uint256 value)']),
    args: [privateKeyToAddress(anvil.payerPrivateKey), 1_000_000n],
  });
  await anvil.rpc('eth_sendTransaction', [{ from: MINTER, to: OTHER_TOKEN, data }]);
  await lab.chain.mine(1);
  const otherNode = await startRpcProxy(anvil.rpcUrl);
  const first = () => lab.part();
  const second = (amountMin = 100n) =>
    lab.part({ token: { address: OTHER_TOKEN }, rpcUrl: otherNode.url, amountMin });
  return { lab, otherNode, first, second };
}

describeRail('evm with two tokens', async () => {
  const { lab, otherNode, first, second } = await startTwoTokens();
  const close = async () => {
    await otherNode.close();
    await lab.close();
  };
  const createRail = () => createEvmRail({ parts: [first(), second()], log: silentLog });
  return { createRail, pay: lab.pay, received: lab.received, close };
});

describe('several networks and tokens behind one rail', () => {
  let two: Awaited<ReturnType<typeof startTwoTokens>>;
  let lab: EvmLab;
  let otherNode: RpcProxy;
  beforeAll(async () => {
    two = await startTwoTokens();
    ({ lab, otherNode } = two);
  });
  afterAll(async () => {
    await otherNode.close();
    await lab.close();
  });
  afterEach(() => {
    otherNode.decide(() => 'pass');
    lab.chain.proxy.decide(() => 'pass');
  });

  const offers = async (rail: ReturnType<typeof createEvmRail>, amount = 250n) => {
    const quote = quoteOf({ amount: millicents(amount) });
    return rail.offer({ quote, address: undefined }, anySignal());
  };

  test('each is offered, in the configured order and above its own minimum', async () => {
    const rail = createEvmRail({ parts: [two.second(500n), two.first()], log: silentLog });
    const assets = async (amount: bigint) =>
      (await offers(rail, amount)).map((offer) => expectOffer(offer, 'eip3009').asset.toLowerCase());
    const firstToken = lab.chain.anvil.token.toLowerCase();
    expect(await assets(500n)).toEqual([OTHER_TOKEN, firstToken]);
    expect(await assets(499n)).toEqual([firstToken]);
    expect(await assets(99n)).toEqual([]);
  });

  test('a payment goes to the part that its network and token name', async () => {
    const rail = createEvmRail({ parts: [two.first(), two.second()], log: silentLog });
    const quote = quoteOf();
    const [, offer] = await offers(rail);
    const form = await lab.sign(expectOffer(offer, 'eip3009'));
    const intent = intentOf(await authorise(rail, form, quote));
    expect(intent.unit).toBe(`eip155:84532/erc20:${OTHER_TOKEN}`);
    expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'settled', units: form.value });
    expect(await rail.lookup(intent, anySignal())).toMatchObject({ kind: 'settled' });
  });

  test('one node down takes away only its own offers, and never its reconciliation', async () => {
    const [first, second] = [two.first(), two.second()];
    const rail = createEvmRail({ parts: [first, second], log: silentLog });
    const quote = quoteOf();
    const form = await lab.sign(expectOffer((await offers(rail))[1], 'eip3009'));
    const intent = intentOf(await authorise(rail, form, quote));
    otherNode.decide(() => 'refuse');
    const look = () => Promise.all([first, second].map((part) => part.checkHealth(anySignal())));
    await look();
    // One lost answer is no outage.
    expect(await offers(rail)).toHaveLength(2);
    expect((await look()).map(({ isUp }) => isUp)).toEqual([true, false]);
    const left = (await offers(rail)).map((offer) => expectOffer(offer, 'eip3009').asset);
    expect(left).toEqual([lab.chain.anvil.token]);
    expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
    otherNode.decide(() => 'pass');
    // The part is still thought to be down, and settles all the same.
    expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'settled' });
    expect(second.health().isUp).toBe(false);
    await look();
    expect(await offers(rail)).toHaveLength(2);
  });

  test('a challenge asks no node', async () => {
    const rail = createEvmRail({ parts: [two.first(), two.second()], log: silentLog });
    lab.chain.proxy.decide(() => 'hold');
    otherNode.decide(() => 'hold');
    expect(await offers(rail)).toHaveLength(2);
  });

  test('a settlement on a network that is not configured any more is unknown, and the operator is told', async () => {
    const before = createEvmRail({ parts: [two.first(), two.second()], log: silentLog });
    const form = await lab.sign(expectOffer((await offers(before))[1], 'eip3009'));
    const intent = intentOf(await authorise(before, form, quoteOf()));
    const told: string[] = [];
    const log: Log = { ...silentLog, error: (_, message) => void told.push(message) };
    const after = createEvmRail({ parts: [two.first()], log });
    expect((await after.settle(intent, anySignal())).kind).toBe('unknown');
    expect((await after.lookup(intent, anySignal())).kind).toBe('unknown');
    expect(told).toEqual(Array(2).fill(expect.stringContaining('not configured')));
    expect(await after.verify(form, quoteOf(), anySignal())).toMatchObject({ kind: 'refused' });
    expect((await before.settle(intent, anySignal())).kind).toBe('settled');
  });

  test('the gas of a wallet that serves two tokens is counted once', async () => {
    const rail = createEvmRail({ parts: [two.first(), two.second()], log: silentLog });
    const balances = await rail.balances(anySignal());
    expect(balances.map(({ account }) => account).sort()).toEqual(
      [
        `A.evm:eip155:84532/erc20:${OTHER_TOKEN}`,
        `A.evm:eip155:84532/erc20:${lab.chain.anvil.token.toLowerCase()}`,
        'A.gas:eip155:84532',
      ].sort(),
    );
    const address = privateKeyToAddress(lab.chain.anvil.gatewayWalletKey);
    const wei = await lab.chain.anvil.rpc('eth_getBalance', [address, 'latest']);
    expect(balances.find(({ account }) => account.startsWith('A.gas'))?.units).toBe(BigInt(String(wei)));
  });

  test('a wallet that is low is told, and one that is empty takes its offer away', async () => {
    const { anvil } = lab.chain;
    const key = await lab.createPayer(0n);
    const part = lab.part({ walletKey: key });
    expect(await part.checkHealth(anySignal())).toMatchObject({ isUp: true, detail: '' });
    await anvil.rpc('anvil_setNextBlockBaseFeePerGas', ['0x3b9aca00']);
    await lab.chain.mine(1);
    await anvil.rpc('anvil_setBalance', [privateKeyToAddress(key), '0x38d7ea4c68000']);
    expect(await part.checkHealth(anySignal())).toMatchObject({
      isUp: true,
      detail: expect.stringMatching(/^the wallet 0x[0-9a-f]{40} has gas for 4 settlements/),
    });
    await anvil.rpc('anvil_setBalance', [privateKeyToAddress(key), '0x1']);
    expect(await part.checkHealth(anySignal())).toMatchObject({ isUp: false });
    expect(part.offer(quoteOf())).toBeUndefined();
  });

  test('a node of another chain is not paid by', async () => {
    otherNode.decide((method) => (method === 'eth_chainId' ? { result: '0x1' } : 'pass'));
    const part = two.second();
    expect(await part.checkHealth(anySignal())).toMatchObject({
      isUp: false,
      detail: expect.stringContaining('chain 1'),
    });
  });
});
