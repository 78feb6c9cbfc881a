import { randomBytes } from 'node:crypto';
import type { Hex } from 'viem';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { signTransaction } from 'viem/actions';
import { Account, Actions } from 'viem/tempo';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TempoForm } from '../../../../src/payments/form.ts';
import type { Rail, TempoOffer } from '../../../../src/payments/rail.ts';
import { anySignal, authorise, expectOffer, intentOf, offerOf, quoteOf } from '../conformance.ts';
import { clientOf, newChallengeId, startTempoLab, type TempoLab } from './lab.ts';
import { encodeTransfer, inSeconds, REALM, toForm } from './sign.ts';

const PRICE_UNITS = 2_500n;
const PAYER_UNITS = 100_000_000n;

let lab: TempoLab;
let rail: Rail;
let offer: TempoOffer;
beforeAll(async () => {
  lab = await startTempoLab();
  rail = lab.rail();
  offer = expectOffer(await offerOf(rail, quoteOf()), 'tempo');
});
afterAll(() => lab.close());

type Signer = ReturnType<typeof Account.fromP256> | ReturnType<typeof lend>;
type Grant = Awaited<ReturnType<typeof Account.signKeyAuthorization>>;

/** What a wallet with this account shows, valid for ten minutes. */
async function signAs(account: Signer, keyAuthorization?: Grant): Promise<TempoForm> {
  const challengeId = newChallengeId();
  const value = await signTransaction(clientOf(lab.tempo), {
    account,
    ...{ type: 'tempo', chainId: lab.tempo.chainId, gas: 2_000_000n },
    ...{ maxFeePerGas: 40_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n, validBefore: inSeconds(600) },
    // A key of nonces that nobody has used yet.
    ...{ nonceKey: BigInt(`0x${randomBytes(8).toString('hex')}`), nonce: 0 },
    calls: [encodeTransfer(offer, { key: '0x', challengeId })],
    ...(keyAuthorization === undefined ? {} : { keyAuthorization }),
  });
  return toForm(offer, { shows: 'transaction', value, challengeId, realm: REALM, payer: account.address });
}

const lend = (owner: ReturnType<typeof Account.fromSecp256k1>) =>
  Account.fromP256(generatePrivateKey(), { access: owner });

async function expectSettled(form: TempoForm): Promise<void> {
  const before = await lab.received();
  const intent = intentOf(await authorise(rail, form, quoteOf()));
  expect(intent.payer).toBe(`eip155:42431:${form.payer}`);
  expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'settled' });
  expect(await lab.received()).toBe(before + PRICE_UNITS);
}

/** Sends the payer what it needs to pay. */
async function fund(address: Hex): Promise<void> {
  const account = Account.fromSecp256k1(lab.payerKey);
  await Actions.token.transferSync(clientOf(lab.tempo), {
    ...{ account, token: lab.tempo.currency, to: address, amount: PAYER_UNITS },
    nonceKey: 'expiring',
  });
}

test('a passkey pays like any other key, and after the run', async () => {
  for (const account of [
    Account.fromP256(generatePrivateKey()),
    Account.fromHeadlessWebAuthn(generatePrivateKey(), {
      rpId: 'wallet.example',
      origin: 'https://wallet.example',
    }),
  ]) {
    await fund(account.address);
    const form = await signAs(account);
    expect((await authorise(rail, form, quoteOf())).mustSettleFirst).toBe(false);
    await expectSettled(form);
  }
});

test('a passkey that did not sign is not taken at its word', async () => {
  const account = Account.fromP256(generatePrivateKey());
  await fund(account.address);
  const form = await signAs(account);
  // Another challenge id in the memo is another message under the same signature.
  const at = form.value.indexOf(
    encodeTransfer(offer, { key: '0x', challengeId: form.challengeId }).data.slice(2),
  );
  const other = encodeTransfer(offer, { key: '0x', challengeId: 'another' }).data.slice(2);
  const value: Hex = `0x${form.value.slice(2, at)}${other}${form.value.slice(at + other.length)}`;
  const forged = { ...form, value, challengeId: 'another' };
  expect(await rail.verify(forged, quoteOf(), anySignal())).toMatchObject({
    kind: 'refused',
    reason: expect.stringContaining('not a Tempo transaction'),
  });
});

test('a key that the payer lends in the same transaction pays, before the run', async () => {
  const owner = Account.fromSecp256k1(await lab.tempo.fundPayer());
  const key = lend(owner);
  const grant = await owner.signKeyAuthorization(key, { chainId: 42_431n, expiry: inSeconds(3_600) });
  const first = await signAs(key, grant);
  expect((await authorise(rail, first, quoteOf())).mustSettleFirst).toBe(true);
  await expectSettled(first);
  // By now the chain knows the key.
  await expectSettled(await signAs(key));
});

test('a key that nobody has lent, that somebody else has lent, or that was taken back is refused', async () => {
  const owner = Account.fromSecp256k1(await lab.tempo.fundPayer());
  const stranger = Account.fromSecp256k1(await lab.tempo.fundPayer());
  const key = lend(owner);
  const own = await owner.signKeyAuthorization(key, { chainId: 42_431n, expiry: inSeconds(3_600) });
  await expectSettled(await signAs(key, own));
  const paid = await signAs(key);
  await Actions.accessKey.revokeSync(clientOf(lab.tempo), {
    ...{ account: owner, accessKey: key },
    nonceKey: 'expiring',
  });
  expect(await rail.verify(paid, quoteOf(), anySignal())).toMatchObject({
    kind: 'refused',
    reason: expect.stringContaining('no longer is'),
  });
  // The owner's old word for it does not lend it again.
  expect(await rail.verify(await signAs(key, own), quoteOf(), anySignal())).toMatchObject({
    kind: 'refused',
    reason: expect.stringContaining('no longer is'),
  });
  const others = lend(owner);
  const foreign = await stranger.signKeyAuthorization(others, { chainId: 42_431n, expiry: inSeconds(3_600) });
  expect((await rail.verify(await signAs(others, foreign), quoteOf(), anySignal())).kind).toBe('refused');
  expect(await rail.verify(await signAs(others), quoteOf(), anySignal())).toMatchObject({
    kind: 'refused',
    reason: expect.stringContaining('not lent'),
  });
});

test('a key is lent on this chain, and until the owner said', async () => {
  const owner = Account.fromSecp256k1(await lab.tempo.fundPayer());
  for (const terms of [
    { chainId: 1n, expiry: inSeconds(3_600) },
    { chainId: 42_431n, expiry: inSeconds(-60) },
  ]) {
    const key = lend(owner);
    const form = await signAs(key, await owner.signKeyAuthorization(key, terms));
    expect((await rail.verify(form, quoteOf(), anySignal())).kind).toBe('refused');
  }
});

test('credit is opened by a key of the account, a passkey too, and not by a lent key or a stranger', async () => {
  const owner = Account.fromSecp256k1(generatePrivateKey());
  const message = 'Open the credit that payments of this account left here.';
  const passkey = Account.fromHeadlessWebAuthn(generatePrivateKey(), {
    rpId: 'wallet.example',
    origin: 'https://wallet.example',
  });
  const ask = (address: string, signature: Hex, chainId: number = lab.tempo.chainId) =>
    rail.isSignedBy?.(
      { payer: `eip155:${chainId}:${address.toLowerCase()}`, message, signature },
      anySignal(),
    );
  for (const account of [owner, Account.fromP256(generatePrivateKey()), passkey]) {
    const signature = await account.signMessage({ message });
    expect(await ask(account.address, signature)).toBe(true);
    expect(await ask(privateKeyToAddress(generatePrivateKey()), signature)).toBe(false);
    expect(await ask(account.address, await account.signMessage({ message: 'another' }))).toBe(false);
    expect(await ask(account.address, signature, 1)).toBeUndefined();
  }
  expect(await ask(owner.address, await lend(owner).signMessage({ message }))).toBe(false);
});
