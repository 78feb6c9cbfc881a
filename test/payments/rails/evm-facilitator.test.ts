import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import type { Rail, SettlementIntent } from '../../../src/payments/rail.ts';
import { createFacilitator, createFacilitatorMover } from '../../../src/payments/rails/evm/index.ts';
import { anySignal, authorise, describeRail, intentOf, offerOf, quoteOf } from './conformance.ts';
import { type FacilitatorFate, type FacilitatorServer, startFacilitator } from './evm-facilitator-lab.ts';
import { type EvmLab, type EvmRailOptions, startEvmLab } from './evm-lab.ts';

const PRICE_UNITS = 2_500n;

type Lab = { evm: EvmLab; server: FacilitatorServer; options: EvmRailOptions };

async function startLab(): Promise<Lab> {
  const evm = await startEvmLab();
  const key = generatePrivateKey();
  await evm.chain.anvil.rpc('anvil_setBalance', [privateKeyToAddress(key), '0x56bc75e2d63100000']);
  const server = await startFacilitator({ rpcUrl: evm.chain.anvil.rpcUrl, key });
  const options: EvmRailOptions = {
    mover: (client) =>
      createFacilitatorMover({
        ...{ client, confirmations: 1, search: { pageBlocks: 100, lookbackBlocks: 1_000 }, log: silentLog },
        facilitator: createFacilitator({
          url: server.url,
          header: { name: 'X-Api-Key', value: 'key-of-ours' },
          timeouts: { callMs: 2_000 },
        }),
        timeouts: { receiptMs: 2_000, pollMs: 20 },
      }),
  };
  return { evm, server, options };
}

describeRail('evm through a facilitator', async () => {
  const { evm, server, options } = await startLab();
  return {
    createRail: () => evm.rail(options),
    pay: evm.pay,
    received: evm.received,
    close: async () => {
      await server.close();
      await evm.close();
    },
  };
});

describe('a facilitator', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(async () => {
    await lab.server.close();
    await lab.evm.close();
  });
  afterEach(() => {
    lab.server.decide(() => 'pass');
    lab.evm.chain.proxy.decide(() => 'pass');
  });

  const onSettle = (fate: FacilitatorFate) => (path: string) => (path === '/settle' ? fate : 'pass');

  async function prepare(): Promise<{ rail: Rail; intent: SettlementIntent; before: bigint }> {
    const rail = lab.evm.rail(lab.options);
    const quote = quoteOf();
    const form = await lab.evm.sign(await offerOf(rail, quote));
    const intent = intentOf(await authorise(rail, form, quote));
    return { rail, intent, before: await lab.evm.received() };
  }

  test('settles at its own cost and is told who asks', async () => {
    const { rail, intent } = await prepare();
    const settlement = await rail.settle(intent, anySignal());
    expect(settlement).toMatchObject({ kind: 'settled', units: PRICE_UNITS, costs: [] });
    expect(lab.server.lastHeaders()['x-api-key']).toBe('key-of-ours');
    expect((await rail.balances(anySignal())).map(({ account }) => account)).toEqual([
      `A.evm:eip155:84532/erc20:${lab.evm.chain.anvil.token.toLowerCase()}`,
    ]);
  });

  test.each<FacilitatorFate>(['refuse', 'fail-before', 'hold'])(
    'that fails before it sends (%s): unknown, and a later settle moves once',
    async (fate) => {
      const { rail, intent, before } = await prepare();
      lab.server.decide(onSettle(fate));
      expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
      expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
      lab.server.decide(() => 'pass');
      expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
      expect((await lab.evm.received()) - before).toBe(PRICE_UNITS);
    },
  );

  test.each<FacilitatorFate>(['swallow', 'fail-after'])(
    'whose answer is lost after it sent (%s): the chain tells, and nothing is sent again',
    async (fate) => {
      const { rail, intent, before } = await prepare();
      lab.server.decide(onSettle(fate));
      const settlement = await rail.settle(intent, anySignal());
      expect(settlement).toMatchObject({ kind: 'settled', units: PRICE_UNITS });
      const asked = lab.server.count('/settle');
      expect(await rail.settle(intent, anySignal())).toEqual(settlement);
      expect(await rail.lookup(intent, anySignal())).toEqual(settlement);
      expect(lab.server.count('/settle')).toBe(asked);
      expect((await lab.evm.received()) - before).toBe(PRICE_UNITS);
    },
  );

  test.each<FacilitatorFate>([
    { answer: { success: true, transaction: `0x${'12'.repeat(32)}`, network: 'eip155:84532' } },
    { answer: { success: true, transaction: '', network: 'eip155:84532' } },
    { answer: { success: false, errorReason: 'insufficient_funds', transaction: '' } },
    { answer: { success: false, errorReason: 'internal-host says no', transaction: '' }, status: 400 },
    { answer: 'nonsense' },
    { answer: { success: true, transaction: 'x'.repeat(100_000) } },
  ])('that says what the chain does not show (%#) settles nothing and refuses nothing', async (fate) => {
    const { rail, intent, before } = await prepare();
    lab.server.decide(onSettle(fate));
    const settlement = await rail.settle(intent, anySignal());
    expect(settlement.kind).toBe('unknown');
    lab.server.decide(() => 'pass');
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect((await lab.evm.received()) - before).toBe(PRICE_UNITS);
  });

  test('that names the transaction of another payment settles nothing by it', async () => {
    const [first, second] = [await prepare(), await prepare()];
    const settled = await first.rail.settle(first.intent, anySignal());
    if (settled.kind !== 'settled') throw new Error(settled.kind);
    lab.server.decide(onSettle({ answer: { success: true, transaction: settled.reference } }));
    expect((await second.rail.settle(second.intent, anySignal())).kind).toBe('unknown');
  });

  test('that does not take a good payment refuses it before the run, in our words', async () => {
    const rail = lab.evm.rail(lab.options);
    const quote = quoteOf();
    const form = await lab.evm.sign(await offerOf(rail, quote));
    lab.server.decide(() => ({ answer: { isValid: false, invalidReason: 'secret policy 7' } }));
    expect(await rail.verify(form, quote, anySignal())).toEqual({
      kind: 'refused',
      reason: expect.not.stringContaining('policy'),
      authorization: expect.objectContaining({ payer: expect.any(String) }),
    });
    lab.server.decide(() => 'refuse');
    expect((await rail.verify(form, quote, anySignal())).kind).toBe('unavailable');
  });

  test('is never asked about a payment that our own look refuses', async () => {
    const rail = lab.evm.rail(lab.options);
    const quote = quoteOf();
    const asked = lab.server.count('/verify');
    const forged = await lab.evm.pay(await offerOf(rail, quote), 'forged');
    expect((await rail.verify(forged, quote, anySignal())).kind).toBe('refused');
    expect(lab.server.count('/verify')).toBe(asked);
  });

  test('a payer who drained the purse is refused by our own reading, and it is not asked', async () => {
    const key = await lab.evm.createPayer(PRICE_UNITS);
    const rail = lab.evm.rail(lab.options);
    const quote = quoteOf();
    const form = await lab.evm.sign(await offerOf(rail, quote), { key });
    const intent = intentOf(await authorise(rail, form, quote));
    await lab.evm.drain(key);
    const asked = lab.server.count('/settle');
    expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
    expect(lab.server.count('/settle')).toBe(asked);
  });

  test('that no longer settles on the network, or is gone, takes the offer away until it is back', async () => {
    const part = lab.evm.part(lab.options);
    expect((await part.checkHealth(anySignal())).isUp).toBe(true);
    lab.server.decide(() => ({ answer: { kinds: [] } }));
    expect(await part.checkHealth(anySignal())).toMatchObject({
      isUp: false,
      detail: expect.stringContaining('does not settle on eip155:84532'),
    });
    expect(part.offer(quoteOf())).toBeUndefined();
    lab.server.decide(() => 'pass');
    await part.checkHealth(anySignal());
    expect(part.offer(quoteOf())).toBeDefined();
  });

  test('a redirect is not followed: our key goes to nobody else', async () => {
    const other = await startFacilitator({
      rpcUrl: lab.evm.chain.anvil.rpcUrl,
      key: generatePrivateKey(),
    });
    const facilitator = createFacilitator({
      ...{ url: lab.server.url, header: { name: 'Authorization', value: 'Bearer ours' } },
      timeouts: { callMs: 2_000 },
    });
    lab.server.decide(() => ({ answer: {}, status: 307, location: `${other.url}/supported` }));
    await expect(facilitator.supports('eip155:84532', anySignal())).rejects.toThrow();
    expect(other.count('/supported')).toBe(0);
    await other.close();
  });
});
