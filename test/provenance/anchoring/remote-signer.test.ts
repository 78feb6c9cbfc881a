import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { createRemoteSigner, type RemoteSigner } from '../../../src/chain/index.ts';
import { until } from '../../chain/lab.ts';
import { type RemoteSignerServer, startRemoteSigner } from '../../harness/remote-signer.ts';
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
