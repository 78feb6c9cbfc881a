import { type Hex, serializeErc6492Signature, toHex } from 'viem';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { millicents } from '../../../src/core/money.ts';
import type { Eip3009Form } from '../../../src/payments/form.ts';
import type { Rail, SettlementIntent } from '../../../src/payments/rail.ts';
import type { Fate } from '../../chain/rpc-proxy.ts';
import { anySignal, authorise, expectOffer, intentOf, offerOf, quoteOf } from './conformance.ts';
import { type EvmLab, type SignedTerms, startEvmLab } from './evm-lab.ts';
import { burnGasOfTestWallet, deployTestWallet, freezeTestWallet } from './test-wallet.ts';

const PRICE_UNITS = 2_500n;
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

let lab: EvmLab;
beforeAll(async () => {
  lab = await startEvmLab();
});
afterAll(() => lab.close());
afterEach(() => lab.chain.proxy.decide(() => 'pass'));

const onBroadcast = (fate: Fate) => (method: string) => (method === 'eth_sendRawTransaction' ? fate : 'pass');
const isKilling = (method: string) => method === 'eth_sendRawTransaction';

/** A wallet's code that answers "valid" to every signature while gas costs nothing, as in a trial, and burns it else. */
const ACCEPTING_IN_TRIALS = '0x3a15600657fe5b631626ba7e60e01b60005260206000f3';

/** The same, and always. */
const ACCEPTING_ALWAYS = '0x631626ba7e60e01b60005260206000f3';

type Prepared = { rail: Rail; form: Eip3009Form; intent: SettlementIntent; before: bigint };

/** A payment that is authorised and not settled, and what we own before it is. */
async function prepare(terms: SignedTerms = {}): Promise<Prepared> {
  const rail = lab.rail();
  const quote = quoteOf();
  const form = await lab.sign(await offerOf(rail, quote), terms);
  const intent = intentOf(await authorise(rail, form, quote));
  return { rail, form, intent, before: await lab.received() };
}

async function arrivedSince(before: bigint): Promise<bigint> {
  return (await lab.received()) - before;
}

describe('the node fails', () => {
  test.each<Fate>(['refuse', 'trouble'])(
    'before the broadcast (%s): unknown, and a later settle moves once',
    async (fate) => {
      const { rail, intent, before } = await prepare();
      lab.chain.proxy.decide(() => fate);
      expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
      expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
      lab.chain.proxy.decide(() => 'pass');
      expect(await arrivedSince(before)).toBe(0n);
      expect((await lab.rail().settle(intent, anySignal())).kind).toBe('settled');
      expect(await arrivedSince(before)).toBe(PRICE_UNITS);
    },
  );

  test('after it took the transaction: unknown, then the look and the settle tell of one settlement', async () => {
    const { intent, before } = await prepare();
    let isDead = false;
    lab.chain.proxy.decide((method) => {
      if (isDead) return 'refuse';
      isDead = isKilling(method);
      return isDead ? 'swallow' : 'pass';
    });
    const settlement = await lab.rail({ receiptMs: 1_000 }).settle(intent, anySignal());
    expect(settlement.kind).toBe('unknown');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
    lab.chain.proxy.decide(() => 'pass');
    const looked = await lab.rail().lookup(intent, anySignal());
    expect(looked).toMatchObject({ kind: 'settled', units: PRICE_UNITS });
    expect(await lab.rail().settle(intent, anySignal())).toEqual(looked);
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('while it checks: unavailable, and nothing of its words is public', async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const form = await lab.sign(await offerOf(rail, quote));
    for (const fate of ['trouble', 'refuse'] as const) {
      lab.chain.proxy.decide(() => fate);
      const verification = await rail.verify(form, quote, anySignal());
      expect(Object.keys(verification)).toEqual(['kind', 'cause']);
      expect(verification.kind).toBe('unavailable');
    }
  });

  test("in the trial, with an error of its own: unknown, because that is no token's refusal", async () => {
    const { rail, intent, before } = await prepare();
    lab.chain.proxy.decide((method) => (method === 'eth_estimateGas' ? 'trouble' : 'pass'));
    expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
    lab.chain.proxy.decide(() => 'pass');
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('an offer needs no node', async () => {
    lab.chain.proxy.decide(() => 'refuse');
    expect(await lab.rail().offer({ quote: quoteOf(), address: undefined }, anySignal())).toHaveLength(1);
  });
});

test('less than the rail takes is not offered, and refused when it is paid all the same', async () => {
  const quote = quoteOf({ amount: millicents(99n) });
  const form = await lab.sign(await offerOf(lab.rail({ amountMin: 99n }), quote));
  expect(await lab.rail().offer({ quote, address: undefined }, anySignal())).toEqual([]);
  expect(await lab.rail().verify(form, quote, anySignal())).toEqual({
    kind: 'refused',
    reason: 'Payments of less than $0.001 are not taken on eip155:84532.',
  });
  await authorise(lab.rail({ amountMin: 99n }), form, quote);
  expect(
    await lab.rail().offer({ quote: quoteOf({ amount: millicents(100n) }), address: undefined }, anySignal()),
  ).toHaveLength(1);
});

describe('the payer turns', () => {
  test('drained between check and settlement: refused, nothing moved, no gas spent', async () => {
    const key = await lab.createPayer(PRICE_UNITS);
    const { rail, intent, before } = await prepare({ key });
    await lab.drain(key);
    const settlement = await rail.settle(intent, anySignal());
    expect(settlement).toEqual({
      kind: 'refused',
      reason: expect.stringContaining('no longer owns'),
      costs: [],
    });
    expect(await arrivedSince(before)).toBe(0n);
  });

  test('drained after the transaction was signed: refused, and its gas is told', async () => {
    const key = await lab.createPayer(PRICE_UNITS);
    const { intent, before } = await prepare({ key });
    lab.chain.proxy.decide(onBroadcast('refuse'));
    expect((await lab.rail({ receiptMs: 300 }).settle(intent, anySignal())).kind).toBe('unknown');
    await lab.drain(key);
    lab.chain.proxy.decide(() => 'pass');
    const settlement = await lab.rail().settle(intent, anySignal());
    if (settlement.kind !== 'refused') throw new Error(settlement.kind);
    expect(settlement.costs).toEqual([
      {
        account: 'A.gas:eip155:84532',
        expense: 'E.gas:eip155:84532',
        unit: 'eip155:84532/wei',
        units: expect.any(BigInt),
      },
    ]);
    expect(await arrivedSince(before)).toBe(0n);
  });

  test('cancelled on the chain: refused by check, settlement and look', async () => {
    const key = await lab.createPayer(PRICE_UNITS);
    const { rail, form, intent, before } = await prepare({ key });
    await lab.cancel(form, key);
    expect((await rail.verify(form, quoteOf(), anySignal())).kind).toBe('refused');
    expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
    // A cancellation that can still be undone ends nothing for good.
    expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
    await lab.chain.mine(3);
    expect((await rail.lookup(intent, anySignal())).kind).toBe('refused');
    expect(await arrivedSince(before)).toBe(0n);
  });

  test('a purse too small for the price is refused before anything runs', async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const key = await lab.createPayer(PRICE_UNITS - 1n);
    const form = await lab.sign(await offerOf(rail, quote), { key });
    expect((await rail.verify(form, quote, anySignal())).kind).toBe('refused');
  });
});

describe('somebody else brings the authorization to the chain', () => {
  test('before us: settled once, by the event, at no cost to us', async () => {
    const { rail, form, intent, before } = await prepare();
    const reference = await lab.broadcast([form]);
    const settled = { kind: 'settled', reference, units: PRICE_UNITS, isFinal: false, costs: [] };
    expect(await rail.lookup(intent, anySignal())).toEqual(settled);
    expect(await rail.settle(intent, anySignal())).toEqual(settled);
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('after we signed ours: settled by theirs, and our reverted gas is told', async () => {
    const { form, intent, before } = await prepare();
    lab.chain.proxy.decide(onBroadcast('refuse'));
    expect((await lab.rail({ receiptMs: 300 }).settle(intent, anySignal())).kind).toBe('unknown');
    const reference = await lab.broadcast([form]);
    lab.chain.proxy.decide(() => 'pass');
    const settlement = await lab.rail().settle(intent, anySignal());
    expect(settlement).toMatchObject({ kind: 'settled', reference, units: PRICE_UNITS });
    expect(settlement.kind === 'settled' && settlement.costs[0]?.units).toBeGreaterThan(0n);
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('two payments in one transaction are two settlements with two references', async () => {
    const [first, second] = [await prepare(), await prepare()];
    await lab.broadcast([first.form, second.form]);
    const settlements = await Promise.all(
      [first, second].map(({ rail, intent }) => rail.settle(intent, anySignal())),
    );
    expect(settlements.map((each) => each.kind)).toEqual(['settled', 'settled']);
    expect(new Set(settlements.map((each) => each.kind === 'settled' && each.reference)).size).toBe(2);
  });

  test('one transfer beside a second use of our nonce pays for one, not for two', async () => {
    const { rail, form, intent, before } = await prepare();
    const honest = await prepare();
    const offer = await offerOf(rail, quoteOf());
    // The same nonce signed again, to the payer's own pocket, in the transaction that pays for the other.
    const elsewhere = await lab.sign(offer, {
      nonce: form.nonce,
      to: privateKeyToAddress(generatePrivateKey()),
    });
    await lab.broadcast([elsewhere, honest.form]);
    expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
    expect((await rail.verify(form, quoteOf(), anySignal())).kind).toBe('refused');
    expect((await honest.rail.settle(honest.intent, anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('further back than we look: never refused, and found when we look further', async () => {
    const { form, intent } = await prepare();
    await lab.broadcast([form]);
    await lab.chain.mine(10);
    const short = lab.rail({ search: { pageBlocks: 2, lookbackBlocks: 4 } });
    expect((await short.lookup(intent, anySignal())).kind).toBe('unknown');
    expect((await short.verify(form, quoteOf(), anySignal())).kind).toBe('unavailable');
    const long = lab.rail({ search: { pageBlocks: 2, lookbackBlocks: 40 } });
    expect((await long.lookup(intent, anySignal())).kind).toBe('settled');
    expect((await long.verify(form, quoteOf(), anySignal())).kind).toBe('spent');
  });
});

test('30 settlements in parallel all settle, with consecutive nonces', async () => {
  const walletKey = generatePrivateKey();
  await lab.chain.anvil.rpc('anvil_setBalance', [privateKeyToAddress(walletKey), '0x56bc75e2d63100000']);
  const rail = lab.rail({ walletKey });
  const prepared = await Promise.all(Array.from({ length: 30 }, () => prepare()));
  const before = await lab.received();
  const settlements = await Promise.all(prepared.map(({ intent }) => rail.settle(intent, anySignal())));
  expect(settlements.map((each) => each.kind)).toEqual(Array(30).fill('settled'));
  expect(await arrivedSince(before)).toBe(30n * PRICE_UNITS);
  const rows = await lab.chain.database.sql<{ nonce: bigint; state: string }[]>`
    SELECT nonce, state FROM chain_transaction
    WHERE wallet = ${privateKeyToAddress(walletKey).toLowerCase()} ORDER BY nonce`;
  expect(rows.map((row) => row.nonce)).toEqual(Array.from({ length: 30 }, (_, index) => BigInt(index)));
  expect(new Set(rows.map((row) => row.state))).toEqual(new Set(['mined']));
});

describe('signatures', () => {
  const withSignature = (form: Eip3009Form, signature: Hex): Eip3009Form => ({ ...form, signature });
  const partsOf = (form: Eip3009Form) => ({
    r: form.signature.slice(2, 66),
    s: BigInt(`0x${form.signature.slice(66, 130)}`),
    v: Number.parseInt(form.signature.slice(130), 16),
  });

  test('the mirror image of a signature is refused, and names the same payment', async () => {
    const { rail, form, intent } = await prepare();
    const { r, s, v } = partsOf(form);
    const mirrored = withSignature(
      form,
      `0x${r}${toHex(ORDER - s, { size: 32 }).slice(2)}${toHex(v === 27 ? 28 : 27, { size: 1 }).slice(2)}`,
    );
    expect((await rail.verify(mirrored, quoteOf(), anySignal())).kind).toBe('refused');
    expect(rail.identify(mirrored).claimKey).toBe(intent.claimKey);
  });

  test('a recovery id of 0 or 1 settles like 27 or 28', async () => {
    const { rail, form, before } = await prepare();
    const { v } = partsOf(form);
    const short = withSignature(form, `${form.signature.slice(0, 130)}0${v - 27}` as Hex);
    const intent = intentOf(await authorise(rail, short, quoteOf()));
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test.each([
    '0x00',
    `0x${'00'.repeat(65)}`,
    `0x${'ff'.repeat(65)}`,
    `0x${'ab'.repeat(64)}`,
    `0x${'cd'.repeat(900)}`,
  ])('bytes that are no signature are refused (%#)', async (signature) => {
    const { rail, form } = await prepare();
    const verification = await rail.verify(withSignature(form, signature as Hex), quoteOf(), anySignal());
    expect(verification.kind).toBe('refused');
  });

  test('a signature over another token, chain or amount is refused', async () => {
    const rail = lab.rail();
    const offer = expectOffer(await offerOf(rail, quoteOf()), 'eip3009');
    const stranger = privateKeyToAddress(generatePrivateKey());
    const forms = [
      { ...(await lab.sign({ ...offer, tokenVersion: '1' })) },
      { ...(await lab.sign({ ...offer, network: 'eip155:8453' })), network: 'eip155:84532' },
      { ...(await lab.sign(offer, { value: 1n })), value: offer.units },
      { ...(await lab.sign({ ...offer, asset: stranger })), asset: lab.chain.anvil.token },
      await lab.sign({ ...offer, network: 'eip155:8453' }),
      await lab.sign({ ...offer, asset: stranger }),
      await lab.sign(offer, { validAfter: BigInt(Math.floor(Date.now() / 1000) + 600) }),
    ];
    for (const form of forms) {
      expect((await rail.verify(form, quoteOf(), anySignal())).kind).toBe('refused');
    }
  });

  test('an authorization that is valid for more than an hour beyond the run is refused', async () => {
    const rail = lab.rail();
    const offer = await offerOf(rail, quoteOf());
    const inSeconds = (seconds: number) => BigInt(Math.floor(Date.now() / 1000) + seconds);
    const anHour = await lab.sign(offer, { validBefore: inSeconds(3_600) });
    await authorise(rail, anHour, quoteOf());
    // The last second of the year 9999, the last one that a Date holds, and the last of all.
    const forever = [253_402_300_799n, 8_640_000_000_000n, 2n ** 256n - 1n];
    for (const validBefore of [inSeconds(3_700), ...forever]) {
      const form = await lab.sign(offer, { validBefore });
      expect(await rail.verify(form, quoteOf(), anySignal())).toEqual({
        kind: 'refused',
        reason: expect.stringContaining('valid for at most an hour.'),
      });
    }
    const impossible = { ...anHour, validBefore: 2n ** 256n };
    expect((await rail.verify(impossible, quoteOf(), anySignal())).kind).toBe('refused');
  });
});

describe('contract wallets', () => {
  async function prepareWallet() {
    const owner = await lab.createPayer(0n);
    const wallet = await deployTestWallet(lab.chain.anvil, owner);
    await lab.chain.anvil.mint(wallet, PRICE_UNITS);
    const rail = lab.rail();
    const form = await lab.sign(await offerOf(rail, quoteOf()), { key: owner, from: wallet });
    return { owner, wallet, rail, form };
  }

  test('its signature is asked of the wallet (ERC-1271), and it pays before the run', async () => {
    const { rail, form } = await prepareWallet();
    const authorization = await authorise(rail, form, quoteOf());
    expect(authorization.mustSettleFirst).toBe(true);
    const before = await lab.received();
    expect((await rail.settle(intentOf(authorization), anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('an ERC-6492 wrapping of a wallet that is there settles by what is inside', async () => {
    const { rail, form } = await prepareWallet();
    const wrapped = serializeErc6492Signature({ address: form.asset, data: '0x', signature: form.signature });
    const authorization = await authorise(rail, { ...form, signature: wrapped }, quoteOf());
    const before = await lab.received();
    expect((await rail.settle(intentOf(authorization), anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('a wallet that changes its mind after the check moves nothing', async () => {
    const { owner, wallet, rail, form } = await prepareWallet();
    const authorization = await authorise(rail, form, quoteOf());
    await freezeTestWallet(lab.chain.anvil, { owner, wallet });
    const before = await lab.received();
    expect((await rail.settle(intentOf(authorization), anySignal())).kind).toBe('refused');
    expect((await rail.verify(form, quoteOf(), anySignal())).kind).toBe('refused');
    expect(await arrivedSince(before)).toBe(0n);
  });

  test('a wallet that burns gas is settled up to a bound, and beyond it refused at no cost to us', async () => {
    const { owner, wallet, rail, form } = await prepareWallet();
    const intent = intentOf(await authorise(rail, form, quoteOf()));
    const before = await lab.received();
    const sent = lab.chain.proxy.count('eth_sendRawTransaction');
    for (const gas of [13_000_000n, 400_000n]) {
      await burnGasOfTestWallet(lab.chain.anvil, { owner, wallet, gas });
      const reason = "The payer's wallet is too expensive to settle.";
      expect(await rail.settle(intent, anySignal())).toEqual({ kind: 'refused', reason, costs: [] });
    }
    expect(lab.chain.proxy.count('eth_sendRawTransaction')).toBe(sent);
    expect(await arrivedSince(before)).toBe(0n);
    // More than a transfer by key may take.
    await burnGasOfTestWallet(lab.chain.anvil, { owner, wallet, gas: 200_000n });
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('a signature as long as a key’s that ends as no key’s does is handed to the wallet as it is', async () => {
    const { anvil } = lab.chain;
    const wallet = privateKeyToAddress(generatePrivateKey());
    await anvil.mint(wallet, PRICE_UNITS);
    await anvil.rpc('anvil_setCode', [wallet, ACCEPTING_ALWAYS]);
    const rail = lab.rail();
    const form = await lab.sign(await offerOf(rail, quoteOf()), { key: generatePrivateKey(), from: wallet });
    const signature: Hex = `0x${form.signature.slice(2, -2)}1f`;
    const before = await lab.received();
    const intent = intentOf(await authorise(rail, { ...form, signature }, quoteOf()));
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('a wallet that accepts in trials and refuses in blocks wastes our gas twice, and no more', async () => {
    const { anvil, proxy } = lab.chain;
    const wallet = privateKeyToAddress(generatePrivateKey());
    await anvil.mint(wallet, 10n * PRICE_UNITS);
    await anvil.rpc('anvil_setCode', [wallet, ACCEPTING_IN_TRIALS]);
    const rail = lab.rail();
    const before = await lab.received();
    const offer = await offerOf(rail, quoteOf());
    const sign = () => lab.sign(offer, { key: generatePrivateKey(), from: wallet });
    const intents = [];
    for (const form of [await sign(), await sign(), await sign()]) {
      intents.push(intentOf(await authorise(rail, form, quoteOf())));
    }
    const sent = proxy.count('eth_sendRawTransaction');
    const costs = [];
    for (const intent of intents) {
      const settlement = await rail.settle(intent, anySignal());
      costs.push(settlement.kind === 'refused' ? settlement.costs?.length : settlement.kind);
    }
    expect(costs).toEqual([1, 1, 0]);
    expect(proxy.count('eth_sendRawTransaction') - sent).toBe(2);
    // It is not even taken any more; everybody else is.
    expect((await rail.verify(await sign(), quoteOf(), anySignal())).kind).toBe('refused');
    expect((await rail.verify(await lab.sign(offer), quoteOf(), anySignal())).kind).toBe('authorised');
    expect(await arrivedSince(before)).toBe(0n);
  });

  test('a transfer by key gets no more gas than keys need', async () => {
    const { rail, intent, before } = await prepare();
    const estimate = (gas: number) => (method: string) =>
      method === 'eth_estimateGas' ? { result: toHex(gas) } : 'pass';
    lab.chain.proxy.decide(estimate(150_001));
    expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'refused', costs: [] });
    expect(await arrivedSince(before)).toBe(0n);
    lab.chain.proxy.decide(estimate(150_000));
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('somebody who is not its owner cannot sign for it', async () => {
    const { wallet, rail } = await prepareWallet();
    const offer = await offerOf(rail, quoteOf());
    const form = await lab.sign(offer, { key: generatePrivateKey(), from: wallet });
    expect((await rail.verify(form, quoteOf(), anySignal())).kind).toBe('refused');
  });

  test('a wallet that is not deployed yet is told so', async () => {
    const rail = lab.rail();
    const form = await lab.sign(await offerOf(rail, quoteOf()));
    const signature = serializeErc6492Signature({
      address: form.asset,
      data: '0x',
      signature: form.signature,
    });
    const verification = await rail.verify({ ...form, signature }, quoteOf(), anySignal());
    expect(verification).toEqual({ kind: 'refused', reason: expect.stringContaining('deploy it') });
  });
});
