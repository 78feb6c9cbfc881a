import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { readProvenance } from '../../../src/config/provenance.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { wireAnchors } from '../../../src/deps/anchors.ts';
import { startJobs } from '../../../src/jobs/index.ts';
import { until } from '../../chain/lab.ts';
import { startRemoteSigner } from '../../harness/remote-signer.ts';
import { type AnchorLab, type LabChain, openLab, renewChain, startLabChain } from './lab.ts';

const OTHER = 31_338;
let nodes: [LabChain, LabChain];
let chains: [LabChain, LabChain];
let lab: AnchorLab;

beforeAll(async () => {
  nodes = await Promise.all([startLabChain(), startLabChain(OTHER)]);
});
afterAll(() => Promise.all(nodes.map((node) => node.close())));
beforeEach(async () => {
  chains = [await renewChain(nodes[0]), await renewChain(nodes[1])];
  lab = await openLab(chains[0]);
});
afterEach(() => lab.close());

test('several chains: each gets the roots from a wallet of its own', async () => {
  const [first, second] = chains;
  const gateways = chains.map((chain) => lab.gateway({ chains: [chain], sql: lab.openPool() }));
  const [one, two] = gateways;
  if (!one || !two) throw new Error('no gateways');
  await one.tick(first);
  await two.tick(second);
  await one.grow(3);
  await Promise.all([one.settle(first), two.settle(second)]);
  expect(await first.readAnchors()).toMatchObject([{ treeSize: 7n }]);
  expect(await second.readAnchors()).toEqual(
    await first
      .readAnchors()
      .then(([anchor]) => [expect.objectContaining({ root: anchor?.root, treeSize: anchor?.treeSize })]),
  );
  const covering = await one.anchoring.anchors.findCovering({ log: 'versions', leafIndex: 0 });
  expect(covering.map(({ chainId }) => chainId).sort()).toEqual([OTHER, 84_532]);
});

test('a chain that hangs holds up no other, and the gateway says which one it is', async () => {
  const [first, second] = chains;
  const signer = await startRemoteSigner({ key: second.walletKey, chainId: second.chainId });
  const place = ({ chainId, proxy, contracts }: LabChain) => ({ chainId, rpcUrl: proxy.url, ...contracts });
  const config = readProvenance({
    ...{ LOG_KEY: undefined, LOG_KEY_PREVIOUS: undefined, LOG_ORIGIN: undefined, WITNESSES: '' },
    ANCHOR_EVERY_SECONDS: 1,
    // One signs here, the other elsewhere.
    ANCHORS: JSON.stringify([
      { ...place(first), walletKey: first.walletKey },
      { ...place(second), signerUrl: signer.url, signerAddress: signer.address },
    ]),
  });
  const { logs, grow } = lab.gateway();
  const wired = await wireAnchors({
    config,
    sql: lab.database.sql,
    clock: systemClock,
    log: silentLog,
    logs,
  });
  first.proxy.decide(() => 'hold');
  const jobs = startJobs(wired.jobs, silentLog);
  try {
    await until(async () => (await logs.versions.readHead()).treeSize === 2 || undefined);
    await grow(3);
    await until(async () => (await second.readAnchors()).length === 1 || undefined);
    await until(async () => {
      await second.mine(1);
      return wired.health()[`anchor_${OTHER}`] === 'ok' || undefined;
    });
    await until(
      async () => /^versions: (?!it was not)/.test(wired.health().anchor_84532 ?? '') || undefined,
      40_000,
    );
    expect(await first.readAnchors()).toEqual([]);
    first.proxy.decide(() => 'pass');
    await until(async () => (await first.readAnchors()).length > 0 || undefined, 40_000);
  } finally {
    first.proxy.decide(() => 'pass');
    await jobs.close();
    await signer.close();
  }
});

test('what one chain contradicts is not told to another', async () => {
  const [first, second] = chains;
  const gateway = lab.gateway({ chains });
  await gateway.tick(first);
  await gateway.grow(3);
  await gateway.settle(first);
  // Another history under the same name, on a database of its own.
  const elsewhere = await openLab(first);
  try {
    const fork = elsewhere.gateway({ chains });
    await fork.grow(20);
    await fork.tick(first);
    await fork.tick(second);
    expect(fork.anchoring.health()).toMatchObject({
      anchor_84532: expect.stringContaining('DIVERGED'),
      [`anchor_${OTHER}`]: expect.stringContaining('versions: DIVERGED'),
    });
    expect(await second.readAnchors()).toEqual([]);
    expect(await second.countTransactions()).toBe(0);
  } finally {
    await elsewhere.close();
  }
});
