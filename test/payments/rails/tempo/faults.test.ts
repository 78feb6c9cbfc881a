import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { millicents } from '../../../../src/core/money.ts';
import type { TempoForm } from '../../../../src/payments/form.ts';
import type { Rail, SettlementIntent } from '../../../../src/payments/rail.ts';
import type { Fate } from '../../../chain/rpc-proxy.ts';
import { anySignal, authorise, expectOffer, intentOf, offerOf, quoteOf } from '../conformance.ts';
import { newChallengeId, startTempoLab, type TempoLab } from './lab.ts';
import { encodeTransfer, inSeconds, type SignedTerms, signTransaction, toSentForm } from './sign.ts';

const PRICE_UNITS = 2_500n;

let lab: TempoLab;
beforeAll(async () => {
  lab = await startTempoLab();
});
afterAll(() => lab.close());
afterEach(() => lab.proxy.decide(() => 'pass'));

const isSending = (method: string) => method === 'eth_sendRawTransaction';
const onSending = (fate: Fate) => (method: string) => (isSending(method) ? fate : 'pass');

type Prepared = { rail: Rail; form: TempoForm; intent: SettlementIntent; before: bigint };

/** A payment that is authorised and not settled, and what we own before it is. */
async function prepare(terms: Partial<SignedTerms> = {}): Promise<Prepared> {
  const rail = lab.rail();
  const quote = quoteOf();
  const form = lab.sign(await offerOf(rail, quote), terms);
  const intent = intentOf(await authorise(rail, form, quote));
  return { rail, form, intent, before: await lab.received() };
}

async function arrivedSince(before: bigint): Promise<bigint> {
  return (await lab.received()) - before;
}

const makeFinal = () => lab.mine(3);
/** So that no node can be without it. */
const makeOld = () => lab.mine(25);

describe('the node fails', () => {
  test.each<Fate>(['refuse', 'trouble'])(
    'before the broadcast (%s): unknown, and a later settle moves once',
    async (fate) => {
      const { intent, before } = await prepare();
      lab.proxy.decide(() => fate);
      expect((await lab.rail({ settleMs: 500 }).settle(intent, anySignal())).kind).toBe('unknown');
      expect((await lab.rail().lookup(intent, anySignal())).kind).toBe('unknown');
      lab.proxy.decide(() => 'pass');
      expect(await arrivedSince(before)).toBe(0n);
      expect((await lab.rail().settle(intent, anySignal())).kind).toBe('settled');
      expect(await arrivedSince(before)).toBe(PRICE_UNITS);
    },
  );

  test('after the broadcast: unknown, then the look and the settle tell of one settlement', async () => {
    const { intent, before } = await prepare();
    let isDead = false;
    lab.proxy.decide((method) => {
      if (isDead) return 'refuse';
      isDead = isSending(method);
      return isDead ? 'swallow' : 'pass';
    });
    expect((await lab.rail({ settleMs: 1_000 }).settle(intent, anySignal())).kind).toBe('unknown');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
    lab.proxy.decide(() => 'pass');
    const looked = await lab.rail().lookup(intent, anySignal());
    expect(looked).toMatchObject({ kind: 'settled', units: PRICE_UNITS, costs: [] });
    expect(await lab.rail().settle(intent, anySignal())).toEqual(looked);
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('while answering the broadcast: the response is lost, and the settlement is found by its hash', async () => {
    const { rail, intent, before } = await prepare();
    lab.proxy.decide(onSending('swallow'));
    expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'settled', units: PRICE_UNITS });
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('while it checks: unavailable, and nothing of its words is public', async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const signed = lab.sign(await offerOf(rail, quote));
    for (const form of [signed, toSentForm(signed)]) {
      for (const fate of ['trouble', 'refuse'] as const) {
        lab.proxy.decide(() => fate);
        const verification = await rail.verify(form, quote, anySignal());
        expect(Object.keys(verification)).toEqual(['kind', 'cause']);
        expect(verification.kind).toBe('unavailable');
      }
    }
  });

  test("in the trial, with an error of its own: unavailable, because that is no token's refusal", async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const form = lab.sign(await offerOf(rail, quote));
    lab.proxy.decide((method) => (method === 'eth_call' ? 'trouble' : 'pass'));
    expect((await rail.verify(form, quote, anySignal())).kind).toBe('unavailable');
  });

  test('an offer needs no node', async () => {
    lab.proxy.decide(() => 'refuse');
    expect(await lab.rail().offer({ quote: quoteOf(), address: undefined }, anySignal())).toHaveLength(1);
  });
});

describe('the chain', () => {
  test('is slow: unknown while it does not mine, and settled once it does', async () => {
    const { rail, intent, before } = await prepare();
    await lab.tempo.rpc('evm_setAutomine', [false]);
    try {
      expect((await lab.rail({ settleMs: 500 }).settle(intent, anySignal())).kind).toBe('unknown');
      expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
      expect(await arrivedSince(before)).toBe(0n);
    } finally {
      await lab.tempo.rpc('evm_setAutomine', [true]);
    }
    await lab.mine(1);
    expect((await rail.lookup(intent, anySignal())).kind).toBe('settled');
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('takes the block of a settlement back: unknown again, and settled again by the same transaction', async () => {
    const { rail, intent, before } = await prepare();
    const first = await rail.settle(intent, anySignal());
    expect(first).toMatchObject({ kind: 'settled', isFinal: false });
    await lab.tempo.rpc('anvil_reorg', [1, []]);
    expect(await arrivedSince(before)).toBe(0n);
    expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
    expect(await rail.settle(intent, anySignal())).toEqual(first);
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('makes a settlement final, and the look says so', async () => {
    const { rail, intent } = await prepare();
    expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'settled', isFinal: false });
    await makeFinal();
    expect(await rail.lookup(intent, anySignal())).toMatchObject({ kind: 'settled', isFinal: true });
  });

  test('takes back what a payer has sent: unavailable and unknown, never refused', async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const form = await lab.pay(await offerOf(rail, quote), 'push');
    const intent = intentOf(await authorise(rail, form, quote));
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    await lab.tempo.rpc('anvil_reorg', [1, []]);
    expect((await rail.verify(form, quote, anySignal())).kind).toBe('unavailable');
    expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
    expect((await lab.rail({ settleMs: 300 }).settle(intent, anySignal())).kind).toBe('unknown');
  });
});

describe('one transaction', () => {
  test('settled 20 times at once over two rails moves once', async () => {
    const { intent, before } = await prepare();
    const rails = [lab.rail(), lab.rail()];
    const settlements = await Promise.all(
      Array.from({ length: 20 }, (_, index) => rails[index % 2]?.settle(intent, anySignal())),
    );
    expect(settlements.map((each) => each?.kind)).toEqual(Array(20).fill('settled'));
    expect(new Set(settlements.map((each) => each?.kind === 'settled' && each.reference)).size).toBe(1);
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('shown signed and then by its hash is one payment with one name, by the same payer', async () => {
    const { rail, form, intent, before } = await prepare();
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    const sent = toSentForm(form);
    expect(rail.identify(sent)).toEqual(rail.identify(form));
    const authorization = await authorise(rail, sent, quoteOf());
    expect(authorization).toMatchObject({ claimKey: intent.claimKey, payer: intent.payer, state: 'paid' });
    expect(await rail.settle(intentOf(authorization), anySignal())).toMatchObject({ units: PRICE_UNITS });
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('sent by its payer before we settle it is settled at once, and not sent again', async () => {
    const { rail, form, intent, before } = await prepare();
    await lab.send(form.value);
    const sent = lab.proxy.count('eth_sendRawTransaction');
    expect(await rail.lookup(intent, anySignal())).toMatchObject({ kind: 'settled' });
    expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'settled' });
    expect(lab.proxy.count('eth_sendRawTransaction')).toBe(sent);
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('with two transfers is refused before it is sent', async () => {
    const rail = lab.rail();
    const offer = expectOffer(await offerOf(rail, quoteOf()), 'tempo');
    const challengeId = newChallengeId();
    const transfer = encodeTransfer(offer, { key: lab.payerKey, challengeId });
    const twice = lab.sign(offer, { challengeId, calls: [transfer, transfer] });
    expect(await rail.verify(twice, quoteOf(), anySignal())).toEqual({
      kind: 'refused',
      reason: 'The transaction must make one call, the payment.',
    });
  });

  test('with two transfers that was sent all the same pays once, and all that arrived is told', async () => {
    const rail = lab.rail();
    const offer = expectOffer(await offerOf(rail, quoteOf()), 'tempo');
    const [mine, other] = [newChallengeId(), newChallengeId()];
    const transferFor = (challengeId: string) => encodeTransfer(offer, { key: lab.payerKey, challengeId });
    const before = await lab.received();
    const twice = lab.sign(offer, { challengeId: mine, calls: [transferFor(mine), transferFor(mine)] });
    await lab.send(twice.value);
    const intent = intentOf(await authorise(rail, toSentForm(twice), quoteOf()));
    expect(await rail.settle(intent, anySignal())).toMatchObject({ units: 2n * PRICE_UNITS });
    expect(await arrivedSince(before)).toBe(2n * PRICE_UNITS);
    // One for each of two challenges: each is good, and both have the one claim of the transaction.
    const both = lab.sign(offer, { challengeId: mine, calls: [transferFor(mine), transferFor(other)] });
    await lab.send(both.value);
    const claims = [mine, other].map((challengeId) => ({ ...toSentForm(both), challengeId }));
    for (const form of claims) {
      expect(await rail.settle(intentOf(await authorise(rail, form, quoteOf())), anySignal())).toMatchObject({
        units: PRICE_UNITS,
      });
    }
    expect(new Set(claims.map((form) => rail.identify(form).claimKey)).size).toBe(1);
  });
});

describe('the payer turns', () => {
  test('drained between check and settlement: refused, and nothing moved', async () => {
    const key = await lab.tempo.fundPayer(1_000_000n);
    const { rail, intent, before } = await prepare({ key });
    await lab.drain(key, 1_000n);
    expect(await rail.settle(intent, anySignal())).toEqual({
      kind: 'refused',
      reason: expect.stringContaining('The payer owns'),
    });
    // Until it expires somebody could fill the purse and send it.
    expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
    expect(await arrivedSince(before)).toBe(0n);
  });

  test('drained by this very payment, which another gateway has sent: not refused', async () => {
    const { rail, form, intent, before } = await prepare();
    await lab.tempo.rpc('evm_setAutomine', [false]);
    try {
      await lab.tempo.rpc('eth_sendRawTransaction', [form.value]);
      // What the purse holds by now, to a node that is ahead of the one with the receipts.
      lab.proxy.decide((method) => (method === 'eth_call' ? { result: `0x${'00'.repeat(32)}` } : 'pass'));
      expect((await lab.rail({ settleMs: 500 }).settle(intent, anySignal())).kind).toBe('unknown');
    } finally {
      await lab.tempo.rpc('evm_setAutomine', [true]);
    }
    await lab.mine(1);
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
    expect(await arrivedSince(before)).toBe(PRICE_UNITS);
  });

  test('drained before the check: refused, and told whose answer may still be owed', async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const key = await lab.tempo.fundPayer(1_000n);
    const form = lab.sign(await offerOf(rail, quote), { key });
    expect(await rail.verify(form, quote, anySignal())).toEqual({
      kind: 'refused',
      reason: expect.stringContaining('The payer owns 1000 token units'),
      authorization: expect.objectContaining({ payer: rail.identify(form).payer, state: 'authorised' }),
    });
  });

  test('with a fee token that is none: refused', async () => {
    const offer = await offerOf(lab.rail(), quoteOf());
    const nowhere = privateKeyToAddress(generatePrivateKey());
    for (const feeToken of [nowhere, '0x20c00000000000000000000000000000000000ff'] as const) {
      const verification = await lab.rail().verify(lab.sign(offer, { feeToken }), quoteOf(), anySignal());
      expect(verification).toMatchObject({ kind: 'refused', reason: expect.stringContaining('the fee of') });
    }
  });

  test('with the price and nothing for the fee: refused', async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const key = await lab.tempo.fundPayer(PRICE_UNITS);
    const form = lab.sign(await offerOf(rail, quote), { key });
    expect(await rail.verify(form, quote, anySignal())).toMatchObject({
      kind: 'refused',
      authorization: expect.any(Object),
    });
  });

  test('drained while the transaction was under way: it fails on the chain, and is refused', async () => {
    const key = await lab.tempo.fundPayer(1_000_000n);
    const { rail, form, intent, before } = await prepare({
      key,
      gas: 400_000n,
      maxFeePerGas: 1_500_000_000n,
    });
    await lab.drain(key, 1_000n);
    expect((await lab.send(form.value)).isSuccess).toBe(false);
    expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
    expect((await rail.verify(toSentForm(form), quoteOf(), anySignal())).kind).toBe('unavailable');
    expect((await rail.settle(intent, anySignal())).kind).toBe('refused');
    await makeFinal();
    expect((await rail.lookup(intent, anySignal())).kind).toBe('refused');
    expect((await rail.verify(toSentForm(form), quoteOf(), anySignal())).kind).toBe('refused');
    expect((await rail.verify(form, quoteOf(), anySignal())).kind).toBe('refused');
    expect(await arrivedSince(before)).toBe(0n);
  });

  test('its nonce spent on another transaction: unknown until every node must know that, then refused', async () => {
    const key = await lab.tempo.fundPayer();
    const lasting = { key, nonceKey: 0n, validBefore: inSeconds(600) };
    const { rail, form, intent, before } = await prepare(lasting);
    const offer = expectOffer(await offerOf(rail, quoteOf()), 'tempo');
    const elsewhere = {
      ...lasting,
      challengeId: newChallengeId(),
      to: privateKeyToAddress(generatePrivateKey()),
    };
    expect((await lab.send(signTransaction(offer, elsewhere))).isSuccess).toBe(true);
    expect((await lab.rail({ settleMs: 300 }).settle(intent, anySignal())).kind).toBe('unknown');
    expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
    await makeOld();
    const refused = { kind: 'refused', reason: 'Another transaction of the payer used up the nonce.' };
    expect(await rail.settle(intent, anySignal())).toEqual(refused);
    expect(await rail.lookup(intent, anySignal())).toEqual(refused);
    expect((await rail.verify(form, quoteOf(), anySignal())).kind).toBe('refused');
    expect(await arrivedSince(before)).toBe(0n);
  });

  test('two payments with one nonce are two claims of which one settles', async () => {
    const key = await lab.tempo.fundPayer();
    const lasting = { key, nonceKey: 7n, validBefore: inSeconds(600) };
    const [first, second] = [await prepare(lasting), await prepare(lasting)];
    expect((await first.rail.settle(first.intent, anySignal())).kind).toBe('settled');
    await makeOld();
    expect((await second.rail.settle(second.intent, anySignal())).kind).toBe('refused');
    expect(first.intent.claimKey).not.toBe(second.intent.claimKey);
    expect(await arrivedSince(first.before)).toBe(PRICE_UNITS);
  });
});

describe('what a payer has sent', () => {
  test('is unavailable while it is not mined, never refused', async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const signed = lab.sign(await offerOf(rail, quote));
    expect((await rail.verify(toSentForm(signed), quote, anySignal())).kind).toBe('unavailable');
    await lab.send(signed.value);
    expect((await rail.verify(toSentForm(signed), quote, anySignal())).kind).toBe('authorised');
  });

  test("is refused to anybody with another challenge, and to anybody in another's name", async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const sent = await lab.pay(await offerOf(rail, quote), 'push');
    const stolen: TempoForm[] = [
      { ...sent, challengeId: newChallengeId() },
      { ...sent, realm: 'elsewhere.example' },
      { ...sent, payer: privateKeyToAddress(generatePrivateKey()) },
    ].map((form) => ({ ...form, payer: lowerOf(form.payer) }));
    for (const form of stolen) expect((await rail.verify(form, quote, anySignal())).kind).toBe('refused');
    await authorise(rail, sent, quote);
  });

  test('is good without a name, and then its hash is the payer', async () => {
    const rail = lab.rail();
    const quote = quoteOf();
    const { payer: _, ...sent } = await lab.pay(await offerOf(rail, quote), 'push');
    const authorization = await authorise(rail, sent, quote);
    expect(authorization.payer).toBe(`eip155:42431:${sent.value}`);
    expect(authorization.payer).toBe(rail.identify(sent).payer);
  });
});

test('a node that hangs is waited for no longer than the caller wants', async () => {
  const { rail, intent } = await prepare();
  lab.proxy.decide(() => 'hold');
  const startedAt = performance.now();
  expect((await rail.settle(intent, AbortSignal.timeout(300))).kind).toBe('unknown');
  expect(performance.now() - startedAt).toBeLessThan(3_000);
});

test('what it says it holds is what its payee owns, under the account of the ledger', async () => {
  const { rail, intent } = await prepare();
  await rail.settle(intent, anySignal());
  const unit = `eip155:42431/tip20:${lab.tempo.currency}`;
  expect(intent.unit).toBe(unit);
  expect(await rail.balances(anySignal())).toEqual([
    { account: `A.tempo:${unit}`, unit, units: await lab.received() },
  ]);
  lab.proxy.decide(() => 'refuse');
  await expect(rail.balances(anySignal())).rejects.toThrow();
});

test('less than the rail takes is not offered, and refused when it is paid all the same', async () => {
  const quote = quoteOf({ amount: millicents(99n) });
  const form = lab.sign(await offerOf(lab.rail({ amountMin: 99n }), quote));
  expect(await lab.rail().offer({ quote, address: undefined }, anySignal())).toEqual([]);
  expect(await lab.rail().verify(form, quote, anySignal())).toEqual({
    kind: 'refused',
    reason: 'Payments of less than $0.001 are not taken on eip155:42431.',
  });
  await authorise(lab.rail({ amountMin: 99n }), form, quote);
});

function lowerOf(address: string | undefined): `0x${string}` {
  return (address ?? '0x').toLowerCase() as `0x${string}`;
}
