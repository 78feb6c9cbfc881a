import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { checkEvidence } from '../../../src/provenance/anchoring/evidence.ts';
import { decodeLeaf } from '../../../src/provenance/log/leaf.ts';
import { type AnchorLab, type LabChain, openLab, renewChain, startLabChain } from './lab.ts';

let node: LabChain;
let chain: LabChain;
let lab: AnchorLab;

beforeAll(async () => {
  node = await startLabChain();
});
afterAll(() => node.close());
beforeEach(async () => {
  chain = await renewChain(node);
  lab = await openLab(chain);
});
afterEach(() => lab.close());

const statesOf = async () => (await lab.jobs()).map(({ state }) => state);

test('the first signed root of an installation is anchored at once, and is final with proofs of its own', async () => {
  const gateway = lab.gateway({ everyMs: 3_600_000 });
  await gateway.tick();
  await gateway.grow(5);
  await gateway.settle();
  const checkpoint = await gateway.logs.versions.findCheckpoint();
  // The two contracts are the first leaves.
  expect(checkpoint?.treeSize).toBe(7);
  expect(await chain.readAnchors()).toMatchObject([
    { treeSize: 7n, root: `0x${checkpoint?.root.toString('hex')}` },
  ]);
  const [anchor, ...others] = await gateway.anchoring.anchors.list({ rowsMax: 10 });
  expect(others).toEqual([]);
  expect(anchor).toMatchObject({ log: 'versions', state: 'final', prevSize: 0, treeSize: 7 });
  const { evidence, mined } = anchor ?? {};
  if (!anchor || !evidence || !mined) throw new Error('there is no evidence');
  expect(evidence.proof.blockHash).toBe(mined.blockHash);
  const held = { ...mined, treeSize: 7, root: anchor.root };
  expect(() => checkEvidence(evidence, { contract: anchor.contract, held })).not.toThrow();
  expect(() =>
    checkEvidence(evidence, { contract: anchor.contract, held: { ...held, treeSize: 8 } }),
  ).toThrow('another tree size');
  expect(gateway.anchoring.health()).toEqual({ anchor_84532: 'ok' });
});

test('each contract is pinned by one leaf of the version log, however often gateways start', async () => {
  for (const gateway of [lab.gateway(), lab.gateway()]) await gateway.tick();
  const gateway = lab.gateway();
  await Promise.all([gateway.tick(), gateway.tick()]);
  const entries = await gateway.logs.versions.readEntries({ fromIndex: 0, entriesMax: 10 });
  expect(entries.map(({ entry }) => decodeLeaf(entry))).toMatchObject([
    { kind: 'anchor-contract', log: 'versions', chain: 84_532, contract: chain.contracts.versions },
    { kind: 'anchor-contract', log: 'receipts', chain: 84_532, contract: chain.contracts.receipts },
  ]);
});

test('a log that did not grow is not anchored again, and one that grew not before its time', async () => {
  let now = Date.now();
  const clock = { now: () => new Date(now) };
  const gateway = lab.gateway({ clock, everyMs: 3_600_000 });
  await gateway.tick();
  await gateway.grow(1);
  await gateway.settle();
  now += 2 * 3_600_000;
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
  await gateway.grow(1);
  await gateway.settle();
  await gateway.grow(1);
  await gateway.settle();
  expect((await chain.readAnchors()).map(({ treeSize }) => treeSize)).toEqual([3n, 4n]);
  now += 3_600_000;
  await gateway.settle();
  expect((await chain.readAnchors()).map(({ treeSize }) => treeSize)).toEqual([3n, 4n, 5n]);
  expect(await chain.countTransactions()).toBe(3);
});

test('a clock that was a year ahead for a while does not keep the log from being anchored for a year', async () => {
  const hour = 3_600_000;
  let now = Date.now() + 8_760 * hour;
  const gateway = lab.gateway({ everyMs: hour, clock: { now: () => new Date(now) } });
  await gateway.tick();
  await gateway.grow(3);
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
  now = Date.now();
  await gateway.grow(1);
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(2);
  // From there on as often as ever.
  await gateway.grow(1);
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(2);
  now += hour;
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(3);
});

test('what is committed and not signed is not anchored', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.settle();
  expect(await chain.readAnchors()).toEqual([]);
  expect(await lab.jobs()).toEqual([]);
});

test('three gateways at once: each root is anchored by one transaction', async () => {
  const gateways = [
    lab.gateway(),
    lab.gateway({ sql: lab.openPool() }),
    lab.gateway({ sql: lab.openPool() }),
  ];
  const [first] = gateways;
  if (!first) throw new Error('no gateway');
  await first.tick();
  for (let round = 0; round < 6; round += 1) {
    await first.grow(2);
    await Promise.all(gateways.flatMap((gateway) => [gateway.tick(), gateway.tick()]));
    await chain.mine(1);
  }
  await first.settle();
  const anchors = await chain.readAnchors();
  expect(anchors.length).toBeGreaterThan(1);
  expect(await chain.countTransactions()).toBe(anchors.length);
  const jobs = await lab.jobs();
  expect(jobs.map(({ state, treeSize }) => [state, treeSize])).toEqual(
    anchors.map(({ treeSize }) => ['final', treeSize]),
  );
});

test('both logs are anchored from one wallet, each in its own contract', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(1);
  await gateway.grow(3, 'receipts');
  await gateway.settle();
  expect(await chain.readAnchors('versions')).toMatchObject([{ treeSize: 3n }]);
  expect(await chain.readAnchors('receipts')).toMatchObject([{ treeSize: 3n }]);
  expect(await statesOf()).toEqual(['final', 'final']);
});

test('a leaf is covered by the first final anchor whose tree holds it', async () => {
  const gateway = lab.gateway();
  const { anchors } = gateway.anchoring;
  await gateway.tick();
  for (let round = 0; round < 3; round += 1) {
    await gateway.grow(4);
    await gateway.settle();
  }
  const sizesFor = async (leafIndex: number) =>
    (await anchors.findCovering({ log: 'versions', leafIndex })).map(({ treeSize }) => treeSize);
  const sizes = (await chain.readAnchors()).map(({ treeSize }) => Number(treeSize));
  expect(sizes).toEqual([6, 10, 14]);
  expect(await Promise.all([0, 5, 6, 13, 14].map(sizesFor))).toEqual([[6], [6], [10], [14], []]);
  expect(await anchors.findLatest({ log: 'versions', chainId: 84_532 })).toMatchObject({ treeSize: 14 });
  expect(await anchors.findLatest({ log: 'versions', chainId: 1 })).toBeUndefined();
  expect(await anchors.findCovering({ log: 'receipts', leafIndex: 0 })).toEqual([]);
  expect((await anchors.list({ rowsMax: 2, log: 'versions' })).map(({ treeSize }) => treeSize)).toEqual([
    14, 10,
  ]);
});

test('a contract of another log is never written to, and says whose it is', async () => {
  const { versions, receipts } = chain.contracts;
  const gateway = lab.gateway({ chain: { contracts: { versions: receipts, receipts: versions } } });
  await gateway.tick();
  await gateway.grow(2);
  await gateway.tick();
  expect(gateway.anchoring.health().anchor_84532).toContain('is of the log "log.example/receipts"');
  expect(await chain.countTransactions()).toBe(0);
  const entries = await gateway.logs.versions.readEntries({ fromIndex: 0, entriesMax: 10 });
  expect(entries.map(({ entry }) => decodeLeaf(entry))).toEqual([undefined, undefined]);
});

test('a contract that is no VersionAnchor, or on another chain, is never written to', async () => {
  const { receipts } = chain.contracts;
  const other = lab.gateway({ chain: { contracts: { versions: chain.anvil.token, receipts } } });
  await other.tick();
  expect(other.anchoring.health().anchor_84532).toContain('is not that of a VersionAnchor');
  const elsewhere = lab.gateway({ chain: { chainId: 1 } });
  await elsewhere.anchoring.tick(1, AbortSignal.timeout(10_000));
  expect(elsewhere.anchoring.health().anchor_1).toContain('the node is of chain 84532');
  expect(await chain.countTransactions()).toBe(0);
});

test('an anchor that the database lost is taken up again from the contract, and nothing is sent for it', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  await gateway.settle();
  await lab.database.sql`ALTER TABLE anchor_job DISABLE TRIGGER ALL`;
  await lab.database.sql`DELETE FROM anchor_job`;
  await lab.database.sql`DELETE FROM chain_transaction`;
  await lab.gateway().settle();
  expect(await lab.jobs()).toMatchObject([{ state: 'final', prevSize: 0n, treeSize: 5n }]);
  expect(await chain.countTransactions()).toBe(1);
});
