import type { TransactionSerializableEIP1559 } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRemoteSigner, type RemoteSigner } from '../../../src/chain/index.ts';
import { type RemoteSignerServer, type SignerFate, startRemoteSigner } from '../../harness/remote-signer.ts';

const KEY = generatePrivateKey();
let server: RemoteSignerServer;

beforeAll(async () => {
  server = await startRemoteSigner({ key: KEY, chainId: 84_532 });
});
afterAll(() => server.close());

const signer = (callMs = 5_000): RemoteSigner =>
  createRemoteSigner({ url: server.url, address: server.address, timeouts: { callMs } });

const TRANSACTION = {
  ...{ type: 'eip1559', chainId: 84_532, nonce: 7, to: '0x00000000000000000000000000000000000000aa' },
  ...{ data: '0x1234', gas: 90_000n, maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n },
} as const satisfies TransactionSerializableEIP1559;

test('what comes back is the transaction that was asked for, to the byte', async () => {
  const raw = await signer().signTransaction(TRANSACTION);
  expect(raw).toBe(await privateKeyToAccount(KEY).signTransaction(TRANSACTION));
});

const change = (by: Partial<TransactionSerializableEIP1559>): SignerFate => ({
  kind: 'change',
  change: (asked) => ({ ...asked, ...by }),
});

test.each<[string, SignerFate]>([
  ['another chain', change({ chainId: 1 })],
  ['another nonce', change({ nonce: 8 })],
  ['another contract', change({ to: '0x00000000000000000000000000000000000000ab' })],
  ['other data', change({ data: '0x1235' })],
  ['a value', change({ value: 1n })],
  ['more gas', change({ gas: 90_001n })],
  ['a higher fee', change({ maxFeePerGas: 3_000_000_001n })],
  ['another tip', change({ maxPriorityFeePerGas: 1n })],
  ['an access list', change({ accessList: [{ address: TRANSACTION.to, storageKeys: [] }] })],
])('a signer that signs %s instead is refused', async (_, fate) => {
  server.decide(fate);
  await expect(signer().signTransaction(TRANSACTION)).rejects.toThrow(
    'signed another transaction than it was asked to',
  );
});

test('a signer that signs with another key is refused', async () => {
  server.decide({ kind: 'sign-as', key: generatePrivateKey() });
  await expect(signer().signTransaction(TRANSACTION)).rejects.toThrow(`and not as ${server.address}`);
});

test.each([
  ['no JSON-RPC', 'hello', 'and no JSON-RPC'],
  ['bytes that are no transaction', { result: '0x02c0' }, 'another transaction'],
  ['a legacy transaction', { result: '0xc0' }, 'another transaction'],
  ['an error', { error: { code: -1, message: 'locked' } }, 'the remote signer refused: locked'],
  ['neither', {}, 'without a reason'],
])('a signer that answers %s is refused in words', async (_, body, reason) => {
  server.decide({ kind: 'answer', body });
  await expect(signer().signTransaction(TRANSACTION)).rejects.toThrow(reason);
});

test('a signer that hangs is given up after the configured time', async () => {
  server.decide({ kind: 'hold' });
  const startedAt = performance.now();
  await expect(signer(300).signTransaction(TRANSACTION)).rejects.toThrow('does not answer');
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});
