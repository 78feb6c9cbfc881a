import { privateKeyToAddress } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { StrayPayment } from '../../../src/payments/rails/evm/index.ts';
import { anySignal, authorise, intentOf, offerOf, quoteOf } from './conformance.ts';
import { type EvmLab, startEvmLab } from './evm-lab.ts';

let lab: EvmLab;
beforeAll(async () => {
  lab = await startEvmLab();
  await lab.chain.mine(5);
});
afterAll(() => lab.close());
afterEach(() => lab.chain.proxy.decide(() => 'pass'));

const nothingClaimed = async () => new Set<string>();
const signed = async () => lab.sign(await offerOf(lab.rail(), quoteOf()));

/** Where a job would begin: at what is final now. */
async function begin(): Promise<bigint> {
  await lab.chain.mine(3);
  const input = { sinceBlock: undefined, isClaimed: nothingClaimed };
  const { payments, cursor, isCaughtUp } = await lab.part().findStrayPayments(input, anySignal());
  expect({ payments, isCaughtUp }).toEqual({ payments: [], isCaughtUp: true });
  return cursor;
}

async function walk(sinceBlock: bigint, isClaimed = nothingClaimed): Promise<StrayPayment[]> {
  const part = lab.part({ search: { pageBlocks: 2, lookbackBlocks: 100 } });
  const found: StrayPayment[] = [];
  for (let cursor = sinceBlock; ; ) {
    const page = await part.findStrayPayments({ sinceBlock: cursor, isClaimed }, anySignal());
    found.push(...page.payments);
    if (page.isCaughtUp) return found;
    expect(page.cursor).toBeGreaterThan(cursor);
    cursor = page.cursor;
  }
}

test('a payment that nobody claimed is listed once it is final, with all that booking it takes', async () => {
  const sinceBlock = await begin();
  const form = await signed();
  const reference = await lab.broadcast([form]);
  expect(await walk(sinceBlock)).toEqual([]);
  await lab.chain.mine(6);
  const [stray, ...others] = await walk(sinceBlock);
  expect(others).toEqual([]);
  expect(stray).toEqual({
    ...lab.rail().identify(form),
    unit: `eip155:84532/erc20:${form.asset}`,
    units: form.value,
    amount: 250n,
    reference,
    blockNumber: expect.any(BigInt),
  });
});

test('several in one transaction are listed apart, and what is claimed is not', async () => {
  const sinceBlock = await begin();
  const forms = [await signed(), await signed(), await signed()];
  const hash = await lab.broadcast(forms);
  const rail = lab.rail();
  const quote = quoteOf();
  const ours = await lab.sign(await offerOf(rail, quote));
  await rail.settle(intentOf(await authorise(rail, ours, quote)), anySignal());
  await lab.chain.mine(3);
  const claimed = new Set([rail.identify(ours).claimKey]);
  const strays = await walk(sinceBlock, async () => claimed);
  expect(strays.map(({ claimKey }) => claimKey)).toEqual(forms.map((form) => rail.identify(form).claimKey));
  expect(strays.map(({ reference }) => reference)).toEqual([hash, `${hash}#1`, `${hash}#2`]);
});

test('neither a plain transfer to us nor an authorization that pays somebody else is listed', async () => {
  const sinceBlock = await begin();
  const { anvil } = lab.chain;
  await anvil.mint(anvil.payTo, 5_000n);
  const elsewhere = privateKeyToAddress(anvil.gatewayWalletKey);
  await lab.broadcast([await lab.sign(await offerOf(lab.rail(), quoteOf()), { to: elsewhere })]);
  await lab.chain.mine(3);
  expect(await walk(sinceBlock)).toEqual([]);
});

test('more than the books can hold is left out, and what comes with it is listed all the same', async () => {
  const sinceBlock = await begin();
  const units = 10n ** 30n;
  const key = await lab.createPayer(units);
  const offer = await offerOf(lab.rail(), quoteOf());
  const usual = await lab.sign(offer);
  await lab.broadcast([await lab.sign(offer, { key, value: units }), usual]);
  await lab.chain.mine(3);
  const strays = await walk(sinceBlock);
  expect(strays.map(({ claimKey }) => claimKey)).toEqual([lab.rail().identify(usual).claimKey]);
});

test('a node that fails in the middle throws, and the same cursor finds everything later', async () => {
  const sinceBlock = await begin();
  await lab.broadcast([await signed()]);
  await lab.chain.mine(3);
  lab.chain.proxy.decide((method) => (method === 'eth_getTransactionReceipt' ? 'refuse' : 'pass'));
  await expect(walk(sinceBlock)).rejects.toThrow();
  lab.chain.proxy.decide(() => 'pass');
  expect(await walk(sinceBlock)).toHaveLength(1);
});
