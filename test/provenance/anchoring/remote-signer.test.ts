import type { TransactionSerializableEIP1559 } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { createRemoteSigner, type RemoteSigner } from '../../../src/chain/index.ts';
import { until } from '../../chain/lab.ts';
import { type RemoteSignerServer, type SignerFate, startRemoteSigner } from '../../harness/remote-signer.ts';
import { type AnchorLab, type LabChain, openLab, renewChain, startLabChain } from './lab.ts';

let node: LabChain;
let chain: LabChain;
let lab: AnchorLab;
let server: RemoteSignerServer;

beforeAll(async () => {
  node = await startLabChain();
});
afterAll(() => node.close());
beforeEach(async () => {
  chain = await renewChain(node);
  lab = await openLab(chain);
  server = await startRemoteSigner({ key: chain.walletKey, chainId: chain.chainId });
});
afterEach(async () => {
  await server.close();
  await lab.close();
});

const signer = (callMs = 5_000): RemoteSigner =>
  createRemoteSigner({ url: server.url, address: server.address, timeouts: { callMs } });

const TRANSACTION = {
  ...{ type: 'eip1559', chainId: 84_532, nonce: 7, to: '0x00000000000000000000000000000000000000aa' },
  ...{ data: '0x1234', gas: 90_000n, maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n },
} as const satisfies TransactionSerializableEIP1559;

test('a root is anchored by a key that is elsewhere, and the request says all that is signed', async () => {
  const gateway = lab.gateway({ chain: { account: signer() } });
  await gateway.tick();
  await gateway.grow(3);
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
  expect(server.requests).toEqual([
    {
      ...{ from: server.address, to: chain.contracts.versions, value: '0x0', nonce: '0x0' },
      ...{ data: expect.stringMatching(/^0x[0-9a-f]+$/), gas: expect.stringMatching(/^0x/) },
      maxFeePerGas: expect.stringMatching(/^0x/),
      maxPriorityFeePerGas: expect.stringMatching(/^0x/),
    },
  ]);
});

test('what comes back is the transaction that was asked for, to the byte', async () => {
  const raw = await signer().signTransaction(TRANSACTION);
  expect(raw).toBe(await privateKeyToAccount(chain.walletKey).signTransaction(TRANSACTION));
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

test('a signer that is away or hangs is waited for, with the wallet free for others meanwhile', async () => {
  const gateway = lab.gateway({ chain: { account: signer(400) } });
  await gateway.tick();
  await gateway.grow(3);
  server.decide({ kind: 'hold' });
  const round = gateway.tick();
  await until(async () => server.requests.length > 0 || undefined);
  // No transaction of the database is open while it is asked.
  const open = await lab.database.sql`
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`;
  expect(open).toEqual([]);
  await round;
  expect(gateway.anchoring.health().anchor_84532).toContain('nothing is signed yet');
  expect(await lab.jobs()).toMatchObject([{ state: 'planned' }]);
  expect(await lab.database.sql`SELECT 1 FROM chain_transaction`).toEqual([]);
  server.decide({ kind: 'sign' });
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
});

test('two gateways with one key elsewhere: one transaction for each root, with nonces in order', async () => {
  const account = signer();
  const gateways = [
    lab.gateway({ chain: { account } }),
    lab.gateway({ chain: { account }, sql: lab.openPool() }),
  ];
  const [first] = gateways;
  if (!first) throw new Error('no gateway');
  await first.tick();
  await first.grow(2);
  await first.grow(2, 'receipts');
  await Promise.all(gateways.flatMap((gateway) => [gateway.tick(), gateway.tick()]));
  await first.settle();
  expect(await chain.readAnchors('versions')).toHaveLength(1);
  expect(await chain.readAnchors('receipts')).toHaveLength(1);
  expect(await chain.countTransactions()).toBe(2);
});
