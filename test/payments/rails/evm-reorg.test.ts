import { privateKeyToAddress } from 'viem/accounts';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Eip3009Form } from '../../../src/payments/form.ts';
import type { Rail, Settled, SettlementIntent } from '../../../src/payments/rail.ts';
import { anySignal, authorise, intentOf, offerOf, quoteOf } from './conformance.ts';
import { type EvmLab, startEvmLab } from './evm-lab.ts';

const PRICE_UNITS = 2_500n;

/** This chain is taken back again and again, so it is nobody else's. */
let lab: EvmLab;
beforeAll(async () => {
  lab = await startEvmLab();
});
afterAll(() => lab.close());
beforeEach(async () => {
  // What a test takes back is its own and nothing before it.
  await lab.chain.mine(10);
});

type Booked = {
  rail: Rail;
  key: `0x${string}`;
  form: Eip3009Form;
  intent: SettlementIntent;
  settled: Settled;
};

/** A payment that was settled and is not final, and the payer who made it. */
async function settle(): Promise<Booked> {
  const key = await lab.createPayer(PRICE_UNITS);
  await lab.chain.mine(3);
  const rail = lab.rail();
  const quote = quoteOf();
  const form = await lab.sign(await offerOf(rail, quote), { key });
  const intent = intentOf(await authorise(rail, form, quote));
  const settled = await rail.settle(intent, anySignal());
  if (settled.kind !== 'settled') throw new Error(settled.kind);
  return { rail, key, form, intent, settled };
}

const paid = (form: Eip3009Form) => lab.balanceOf(form.from).then((left) => PRICE_UNITS - left);

test('a settlement is final when its block is, and not one block earlier', async () => {
  const { rail, intent, settled } = await settle();
  expect(settled.isFinal).toBe(false);
  const isFinal = async () => {
    const looked = await rail.lookup(intent, anySignal());
    if (looked.kind !== 'settled') throw new Error(looked.kind);
    return looked.isFinal;
  };
  expect(await isFinal()).toBe(false);
  await lab.chain.mine(1);
  expect(await isFinal()).toBe(false);
  await lab.chain.mine(1);
  expect(await isFinal()).toBe(true);
  expect(await rail.settle(intent, anySignal())).toEqual({ ...settled, isFinal: true });
});

test('a chain without final blocks: final at the configured depth', async () => {
  const { intent } = await settle();
  const rail = lab.rail({ finalityBlocks: 5 });
  await lab.chain.mine(4);
  expect(await rail.lookup(intent, anySignal())).toMatchObject({ kind: 'settled', isFinal: false });
  await lab.chain.mine(1);
  expect(await rail.lookup(intent, anySignal())).toMatchObject({ kind: 'settled', isFinal: true });
});

test('a payment that somebody else brought is final when its block is', async () => {
  const rail = lab.rail();
  const quote = quoteOf();
  const form = await lab.sign(await offerOf(rail, quote));
  const intent = intentOf(await authorise(rail, form, quote));
  await lab.broadcast([form]);
  expect(await rail.verify(form, quote, anySignal())).toMatchObject({ settlement: { isFinal: false } });
  expect(await rail.lookup(intent, anySignal())).toMatchObject({ isFinal: false });
  await lab.chain.mine(2);
  expect(await rail.verify(form, quote, anySignal())).toMatchObject({ settlement: { isFinal: true } });
  expect(await rail.lookup(intent, anySignal())).toMatchObject({ isFinal: true });
});

test('a node that does not say how final a payment is does not hide that it was made', async () => {
  const { rail, intent } = await settle();
  await lab.chain.mine(3);
  let blocks = 0;
  // The receipt comes, the final block does not.
  lab.chain.proxy.decide((method) => (method === 'eth_getBlockByNumber' && ++blocks > 0 ? 'refuse' : 'pass'));
  expect(await rail.lookup(intent, anySignal())).toMatchObject({ kind: 'settled', isFinal: false });
  expect(blocks).toBeGreaterThan(0);
  lab.chain.proxy.decide(() => 'pass');
});

test('reorged and mined again by itself: settled still, once', async () => {
  const { rail, form, intent, settled } = await settle();
  const [row] = await lab.chain.database.sql<{ raw: string }[]>`
    SELECT '0x' || encode(raw, 'hex') AS raw FROM chain_transaction WHERE ref = ${intent.claimKey}`;
  await lab.chain.anvil.rpc('anvil_reorg', [2, [[row?.raw, 1]]]);
  expect(await rail.lookup(intent, anySignal())).toMatchObject({
    kind: 'settled',
    reference: settled.reference,
    units: PRICE_UNITS,
  });
  await lab.chain.mine(5);
  expect(await rail.lookup(intent, anySignal())).toMatchObject({ isFinal: true });
  expect(await paid(form)).toBe(PRICE_UNITS);
});

test('reorged and dropped: unknown to the look, and settling again moves once', async () => {
  const { rail, form, intent } = await settle();
  await lab.chain.anvil.rpc('anvil_reorg', [1, []]);
  expect(await paid(form)).toBe(0n);
  expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
  const again = await lab.rail().settle(intent, anySignal());
  expect(again).toMatchObject({ kind: 'settled', units: PRICE_UNITS });
  await lab.chain.mine(5);
  expect(await rail.lookup(intent, anySignal())).toEqual({ ...again, isFinal: true });
  expect(await rail.settle(intent, anySignal())).toEqual({ ...again, isFinal: true });
  expect(await paid(form)).toBe(PRICE_UNITS);
});

test('reorged, and the payer spent the money elsewhere: settling again is refused, and nothing moves', async () => {
  const { rail, key, form, intent } = await settle();
  await lab.chain.anvil.rpc('anvil_reorg', [1, []]);
  const before = await lab.received();
  await lab.drain(key);
  // It could still land while it is valid, so the look does not end it.
  expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
  expect(await rail.settle(intent, anySignal())).toMatchObject({
    kind: 'refused',
    reason: expect.stringContaining('no longer owns'),
  });
  expect(await lab.balanceOf(form.from)).toBe(0n);
  expect(await lab.received()).toBe(before);
});

test('reorged, and the nonce went elsewhere: unknown until that is final, then refused', async () => {
  const { rail, key, form, intent } = await settle();
  await lab.chain.anvil.rpc('anvil_reorg', [1, []]);
  const elsewhere = await lab.sign(await offerOf(rail, quoteOf()), {
    ...{ key, nonce: form.nonce },
    to: privateKeyToAddress(lab.chain.anvil.payerPrivateKey),
  });
  await lab.broadcast([elsewhere]);
  expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
  await lab.chain.mine(3);
  expect(await rail.lookup(intent, anySignal())).toMatchObject({ kind: 'refused' });
  expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'refused' });
});
