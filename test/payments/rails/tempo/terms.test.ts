import { randomBytes } from 'node:crypto';
import { Secp256k1 } from 'ox';
import { SignatureEnvelope, TxEnvelopeTempo } from 'ox/tempo';
import { encodeFunctionData, type Hex } from 'viem';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TempoForm } from '../../../../src/payments/form.ts';
import type { Rail, TempoOffer } from '../../../../src/payments/rail.ts';
import { anySignal, authorise, expectOffer, intentOf, offerOf, quoteOf } from '../conformance.ts';
import { newChallengeId, startTempoLab, type TempoLab } from './lab.ts';
import { encodeTransfer, inSeconds, memoOf, type SignedTerms, tokenAbi } from './sign.ts';
import { createToken, pauseToken } from './token.ts';

const PRICE_UNITS = 2_500n;
const SECP256K1_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

let lab: TempoLab;
let rail: Rail;
let offer: TempoOffer;
beforeAll(async () => {
  lab = await startTempoLab();
  rail = lab.rail();
  offer = expectOffer(await offerOf(rail, quoteOf()), 'tempo');
});
afterAll(() => lab.close());

const stranger = (): Hex => privateKeyToAddress(generatePrivateKey());
const envelopeOf = (form: TempoForm) => TxEnvelopeTempo.deserialize(`0x76${form.value.slice(4)}`);

async function refusalOf(form: TempoForm, on: Rail = rail): Promise<string> {
  const verification = await on.verify(form, quoteOf(), anySignal());
  if (verification.kind !== 'refused') throw new Error(`not refused: ${verification.kind}`);
  return verification.reason;
}

describe('a transaction that is not the payment is refused before it is sent', () => {
  const challengeId = newChallengeId();
  const plainTransfer = () =>
    encodeFunctionData({ abi: tokenAbi, functionName: 'transfer', args: [offer.recipient, PRICE_UNITS] });
  const transfer = (terms: Partial<SignedTerms> = {}) =>
    encodeTransfer(offer, { key: lab.payerKey, challengeId, ...terms });
  const faults: [name: string, terms: () => Partial<SignedTerms>, reason: RegExp][] = [
    ['pays less', () => ({ amount: PRICE_UNITS - 1n }), /pays 2499 token units/],
    ['pays more', () => ({ amount: PRICE_UNITS + 1n }), /pays 2501 token units/],
    ['pays somebody else', () => ({ to: stranger() }), /pays somebody else/],
    ['pays in another token', () => ({ token: stranger() }), /another token/],
    ['is for another chain', () => ({ chainId: 4217 }), /another chain/],
    ['has no memo', () => ({ calls: [{ to: offer.currency, data: plainTransfer() }] }), /transferWithMemo/],
    ['has the memo of another challenge', () => ({ memo: memoOf(newChallengeId()) }), /memo/],
    ['has the memo of another realm', () => ({ memo: memoOf(challengeId, 'elsewhere.example') }), /memo/],
    ['has a memo of its own', () => ({ memo: `0x${'11'.repeat(32)}` }), /memo/],
    ['pays twice', () => ({ calls: [transfer(), transfer()] }), /one call/],
    ['pays after another call', () => ({ calls: [transfer({ to: stranger() }), transfer()] }), /one call/],
    [
      'has bytes after its call',
      () => ({ calls: [{ ...transfer(), data: `${transfer().data}00` }] }),
      /transferWithMemo/,
    ],
    ['sends a native value', () => ({ calls: [{ ...transfer(), value: 1n }] }), /native value/],
    ['calls nobody', () => ({ calls: [{ to: offer.currency, data: '0x' }] }), /transferWithMemo/],
    ['never expires', () => ({ validBefore: null, nonceKey: 5n }), /never expires/],
    ['expires too late', () => ({ validBefore: inSeconds(3_700), nonceKey: 5n }), /at most an hour/],
    [
      'expires at the end of time',
      () => ({ validBefore: Number.MAX_SAFE_INTEGER, nonceKey: 5n }),
      /at most an hour/,
    ],
    ['expires at once', () => ({ validBefore: inSeconds(3) }), /too soon/],
    ['is expired', () => ({ validBefore: inSeconds(-60) }), /too soon/],
    ['is not valid yet', () => ({ validAfter: inSeconds(15) }), /not valid yet/],
    ['comes before its nonce has its turn', () => ({ nonceKey: 5n, nonce: 1n }), /lower nonces/],
  ];
  test.each(faults)('it %s', async (_, termsOf, reason) => {
    const before = await lab.received();
    const form = lab.sign(offer, { challengeId, validBefore: inSeconds(600), nonceKey: 5n, ...termsOf() });
    expect(await refusalOf(form)).toMatch(reason);
    expect(await lab.received()).toBe(before);
  });

  test('it is for another network, or shown by another account', async () => {
    const form = lab.sign(offer);
    expect(await refusalOf({ ...form, network: 'eip155:4217' })).toMatch(/eip155:4217 are not taken/);
    expect(await refusalOf({ ...form, payer: '0x00000000000000000000000000000000000000aa' })).toMatch(
      /not signed/,
    );
  });

  test("its fee is somebody else's to pay", async () => {
    const envelope = envelopeOf(lab.sign(offer, { challengeId }));
    const waiting = { ...envelope, signature: undefined, feePayerSignature: null };
    const payload = TxEnvelopeTempo.getSignPayload(waiting);
    const signature = SignatureEnvelope.from(Secp256k1.sign({ payload, privateKey: lab.payerKey }));
    for (const feePayerSignature of [null, Secp256k1.sign({ payload, privateKey: generatePrivateKey() })]) {
      const value = TxEnvelopeTempo.serialize({ ...waiting, feePayerSignature }, { signature });
      expect(await refusalOf({ ...lab.sign(offer, { challengeId }), value })).toMatch(/not sponsored/);
    }
  });

  test('its token is paused, and takes it no more', async () => {
    const payer = privateKeyToAddress(lab.payerKey);
    const currency = await createToken(lab.tempo, { holder: payer, units: 1_000_000n });
    const other = lab.rail({ currency });
    const inOther = expectOffer(await offerOf(other, quoteOf()), 'tempo');
    const pay = () => lab.sign(inOther, { feeToken: lab.tempo.currency });
    // Fees may be paid in another token.
    const intent = intentOf(await authorise(other, pay(), quoteOf()));
    expect(await other.settle(intent, anySignal())).toMatchObject({ kind: 'settled', units: PRICE_UNITS });
    const late = intentOf(await authorise(other, pay(), quoteOf()));
    await pauseToken(lab.tempo, currency);
    expect(await refusalOf(pay(), other)).toBe('The token refuses the transfer.');
    expect((await other.settle(late, anySignal())).kind).toBe('refused');
    expect((await other.lookup(late, anySignal())).kind).toBe('unknown');
  });
});

describe('how long it is valid decides when it is settled', () => {
  const modeOf = async (on: Rail, terms: Partial<SignedTerms>) =>
    (await authorise(on, lab.sign(offer, { nonceKey: 9n, ...terms }), quoteOf())).mustSettleFirst;

  test('before the run when it expires within the run and a minute, as with stock clients', async () => {
    expect(await modeOf(rail, { validBefore: inSeconds(25) })).toBe(true);
    expect(await modeOf(rail, { validBefore: inSeconds(62) })).toBe(true);
    expect(await modeOf(rail, { validBefore: inSeconds(70) })).toBe(false);
    const stock = await lab.pay(offer, 'pull');
    expect((await authorise(rail, stock, quoteOf())).mustSettleFirst).toBe(true);
  });

  test('after the run for stock clients too where the operator asks for a shorter margin', async () => {
    const swift = lab.rail({ settleMarginMs: 10_000 });
    const stock = await lab.pay(offer, 'pull');
    expect((await authorise(swift, stock, quoteOf())).mustSettleFirst).toBe(false);
    expect((await authorise(swift, stock, quoteOf({ runTimeoutMs: 30_000 }))).mustSettleFirst).toBe(true);
  });
});

describe('spellings', () => {
  test('a recovery id of 0 or 1 is the same payment, and settles under the hash the chain gives it', async () => {
    const form = lab.sign(offer);
    const v = Number.parseInt(form.value.slice(-2), 16);
    const value: Hex = `0x${form.value.slice(2, -2)}0${v - 27}`;
    expect(rail.identify({ ...form, value })).toEqual(rail.identify(form));
    const before = await lab.received();
    const intent = intentOf(await authorise(rail, { ...form, value }, quoteOf()));
    const settled = await rail.settle(intent, anySignal());
    expect(settled).toMatchObject({ kind: 'settled' });
    expect(intent.claimKey).toBe(`tempo:eip155:42431:${settled.kind === 'settled' && settled.reference}`);
    expect(await lab.received()).toBe(before + PRICE_UNITS);
  });

  test('the mirror image of a signature is refused, as by the chain', async () => {
    const form = lab.sign(offer);
    const { signature, ...envelope } = envelopeOf(form);
    if (signature?.type !== 'secp256k1') throw new Error('another signature');
    const { r, s, yParity } = signature.signature;
    const mirrored = SignatureEnvelope.from({ r, s: SECP256K1_ORDER - s, yParity: 1 - (yParity ?? 0) });
    const value = TxEnvelopeTempo.serialize(envelope, { signature: mirrored });
    expect(await refusalOf({ ...form, value })).toMatch(/not a Tempo transaction/);
  });

  test('what is no signed transaction has a name of its own and is refused', async () => {
    const form = lab.sign(offer);
    const { signature: _, ...unsigned } = envelopeOf(form);
    const values: Hex[] = [
      TxEnvelopeTempo.serialize(unsigned),
      `0x02${form.value.slice(4)}`,
      `0x78${form.value.slice(4)}`,
      `0x${form.value.slice(2, -20)}`,
      `0x76${'c0'.repeat(40)}`,
      `0x76${'ff'.repeat(2_000)}`,
    ];
    for (const value of values) {
      const other = { ...form, value };
      expect(rail.identify(other).claimKey).not.toBe(rail.identify(form).claimKey);
      expect(rail.identify(other)).toEqual(rail.identify({ ...other }));
      expect(await refusalOf(other)).toMatch(/not a Tempo transaction/);
    }
    expect(await refusalOf({ ...form, shows: 'hash' })).toBe('A transaction hash has 32 bytes.');
  });

  test('two hundred transactions with a byte changed never crash, and never pay by another name', async () => {
    const form = lab.sign(offer);
    const original = rail.identify(form);
    for (let round = 0; round < 200; round += 1) {
      const bytes = Buffer.from(form.value.slice(2), 'hex');
      const [at = 0, to = 0] = [randomBytes(4).readUInt32BE() % bytes.length, randomBytes(1)[0]];
      bytes[at] = to;
      const identity = rail.identify({ ...form, value: `0x${bytes.toString('hex')}` });
      // The recovery id has two spellings, and a byte may change to itself.
      if (identity.claimKey === original.claimKey) expect(identity).toEqual(original);
    }
  });
});
