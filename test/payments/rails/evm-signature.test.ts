import { randomBytes } from 'node:crypto';
import { type Hex, hashTypedData, recoverAddress } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import type { Eip3009Form } from '../../../src/payments/form.ts';
import { createSignatureCheck, isNative } from '../../../src/payments/rails/evm/index.ts';

const TOKEN = { address: '0x036CbD53842c5426634e7929541eC2318f3dCF7e', name: 'USDC', version: '2' } as const;
const CHAIN_ID = 84_532;
const types = {
  TransferWithAuthorization: [
    { name: 'from', type: 'address' },
    { name: 'to', type: 'address' },
    { name: 'value', type: 'uint256' },
    { name: 'validAfter', type: 'uint256' },
    { name: 'validBefore', type: 'uint256' },
    { name: 'nonce', type: 'bytes32' },
  ],
} as const;
const domain = {
  ...{ name: TOKEN.name, version: TOKEN.version },
  ...{ chainId: CHAIN_ID, verifyingContract: TOKEN.address },
};
const hex = (bytes: number): Hex => `0x${randomBytes(bytes).toString('hex')}`;
const lower = (text: string) => text.toLowerCase() as Hex;
const check = createSignatureCheck(TOKEN, CHAIN_ID, silentLog);

async function sign(): Promise<Eip3009Form> {
  const account = privateKeyToAccount(generatePrivateKey());
  const message = {
    ...{ from: lower(account.address), to: hex(20), value: BigInt(hex(8)) },
    ...{ validAfter: BigInt(hex(2)), validBefore: BigInt(hex(5)), nonce: hex(32) },
  };
  const signature = await account.signTypedData({
    ...{ domain, types, primaryType: 'TransferWithAuthorization', message },
  });
  return {
    kind: 'eip3009',
    network: `eip155:${CHAIN_ID}`,
    asset: lower(TOKEN.address),
    ...message,
    signature,
  };
}

test('the native addon is the one that checks here', () => {
  expect(isNative()).toBe(true);
});

test('the hash is the one that wallets sign, and the verdict is that of viem', async () => {
  for (let index = 0; index < 50; index++) {
    const form = await sign();
    const hash = hashTypedData({ domain, types, primaryType: 'TransferWithAuthorization', message: form });
    expect(check.hash(form)).toBe(hash);
    expect(await check.isSignedByKey(form, hash)).toBe(true);
    expect((await recoverAddress({ hash, signature: form.signature })).toLowerCase()).toBe(form.from);
    expect(await check.isSignedByKey({ ...form, from: hex(20) }, hash)).toBe(false);
    expect(await check.isSignedByKey({ ...form, signature: (await sign()).signature }, hash)).toBe(false);
  }
});

test('one flipped bit anywhere in the terms or the signature is no signature by the payer', async () => {
  const form = await sign();
  const others: Eip3009Form[] = [
    { ...form, value: form.value ^ 1n },
    { ...form, validAfter: form.validAfter ^ 1n },
    { ...form, validBefore: form.validBefore ^ 1n },
    { ...form, nonce: flip(form.nonce, 31) },
    { ...form, to: flip(form.to, 0) },
    ...Array.from({ length: 65 }, (_, at) => ({ ...form, signature: flip(form.signature, at) })),
  ];
  for (const other of others) expect(await check.isSignedByKey(other, check.hash(other))).toBe(false);
});

test.each([
  `0x${'00'.repeat(65)}`,
  `0x${'ff'.repeat(65)}`,
  `0x${'00'.repeat(64)}1b`,
  `0x${'01'.repeat(64)}1d`,
  `0x${'01'.repeat(64)}`,
])('bytes that no key made are refused without an exception (%#)', async (signature) => {
  const form = { ...(await sign()), signature: signature as Hex };
  expect(await check.isSignedByKey(form, check.hash(form))).toBe(false);
});

function flip(text: Hex, at: number): Hex {
  const bytes = Buffer.from(text.slice(2), 'hex');
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return `0x${bytes.toString('hex')}`;
}
