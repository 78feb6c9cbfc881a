import { createWalletClient, type Hex, http, keccak256, toHex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import { checkEvidence } from '../../../src/provenance/anchoring/evidence.ts';
import { LogDivergedError } from '../../../src/provenance/index.ts';
import type { Fate } from '../../chain/rpc-proxy.ts';
import { createTestDatabase } from '../../harness/database.ts';
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

const stateOf = async () => (await lab.jobs()).map(({ state }) => state);

/** A log that keeps what was said at level error. */
function listen() {
  const errors: string[] = [];
  const log = { ...silentLog, error: (_: object, message: string) => void errors.push(message) };
  return { errors, log: { ...log, child: () => log } };
}

test('reorg after one confirmation: the same transaction is mined again, and there is one anchor', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  const snapshot = await chain.anvil.rpc('evm_snapshot');
  await gateway.grow(3);
  await gateway.tick();
  await gateway.tick();
  expect(await stateOf()).toEqual(['mined']);
  const [sent] = await lab.database.sql<{ hash: string }[]>`SELECT hash FROM chain_transaction`;
  await chain.anvil.rpc('evm_revert', [snapshot]);
  // Other blocks at those heights.
  await chain.mine(3);
  expect(await chain.readAnchors()).toEqual([]);
  await gateway.tick();
  expect(await stateOf()).toEqual(['sent']);
  await gateway.settle();
  expect(await stateOf()).toEqual(['final']);
  expect(await chain.readAnchors()).toHaveLength(1);
  expect(await chain.countTransactions()).toBe(1);
  const [anchor] = await gateway.anchoring.anchors.list({ rowsMax: 1 });
  expect(anchor?.mined?.txHash).toBe(sent?.hash);
  expect(anchor?.evidence?.proof.blockHash).toBe(anchor?.mined?.blockHash);
});

test('a reorg after which the nonce belongs to another transaction: the root is anchored by a new one', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  const snapshot = await chain.anvil.rpc('evm_snapshot');
  await gateway.grow(3);
  await gateway.tick();
  await gateway.tick();
  expect(await stateOf()).toEqual(['mined']);
  await chain.anvil.rpc('evm_revert', [snapshot]);
  const account = privateKeyToAccount(chain.walletKey);
  const wallet = createWalletClient({ account, transport: http(chain.anvil.rpcUrl) });
  await wallet.sendTransaction({ to: chain.anvil.payTo, chain: null });
  await chain.mine(5);
  await gateway.settle();
  expect(await stateOf()).toEqual(['final']);
  expect(await chain.readAnchors()).toHaveLength(1);
  expect(await chain.countTransactions()).toBe(2);
});

test('a reorg that puts the transaction into another block: the anchor and its proofs are of that block', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  const snapshot = await chain.anvil.rpc('evm_snapshot');
  await gateway.tick();
  await gateway.tick();
  await gateway.tick();
  const [before] = await gateway.anchoring.anchors.list({ rowsMax: 1 });
  const [{ raw } = { raw: '0x' }] = await lab.database.sql<{ raw: Hex }[]>`
    SELECT '0x' || encode(raw, 'hex') AS raw FROM chain_transaction`;
  await chain.anvil.rpc('evm_revert', [snapshot]);
  await chain.mine(2);
  await chain.anvil.rpc('eth_sendRawTransaction', [raw]);
  await gateway.settle();
  const [after] = await gateway.anchoring.anchors.list({ rowsMax: 1 });
  expect(after).toMatchObject({ state: 'final', mined: { txHash: before?.mined?.txHash } });
  expect(after?.mined?.blockHash).not.toBe(before?.mined?.blockHash);
  expect(after?.evidence?.proof.blockHash).toBe(after?.mined?.blockHash);
});

/** What a node says of a transaction that it did not mine. */
async function lieAbout(hash: Hex, root: Hex, index: bigint): Promise<(method: string) => Fate> {
  const block = (await chain.anvil.rpc('eth_getBlockByNumber', ['latest', false])) as Record<string, Hex>;
  const { number = '0x0', hash: blockHash = '0x' } = block;
  const word = (value: bigint) => toHex(value, { size: 32 });
  const logs = [
    {
      ...{ address: chain.contracts.versions, blockNumber: number, blockHash, transactionHash: hash },
      ...{ transactionIndex: '0x0', logIndex: '0x0', removed: false, data: word(0n) },
      topics: [keccak256(toHex('Anchored(uint256,uint64,bytes32,uint64)')), word(index), word(5n), root],
    },
  ];
  const receipt = {
    ...{ transactionHash: hash, blockHash, blockNumber: number, logs, status: '0x1', type: '0x2' },
    ...{ gasUsed: '0x15f90', cumulativeGasUsed: '0x15f90', effectiveGasPrice: '0x3b9aca00' },
    ...{ from: chain.contracts.receipts, to: chain.contracts.versions, contractAddress: null },
    ...{ logsBloom: `0x${'0'.repeat(512)}`, transactionIndex: '0x0' },
  };
  return (method) => {
    if (method === 'eth_getTransactionReceipt') return { result: receipt };
    if (method === 'eth_getLogs') return { result: logs };
    // And the node keeps the transaction to itself.
    return method === 'eth_sendRawTransaction' ? { result: hash } : 'pass';
  };
}

test('RPC that lies about a receipt: what the contract does not hold is never mined, and never final', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  chain.proxy.decide((method) => (method === 'eth_sendRawTransaction' ? 'refuse' : 'pass'));
  await gateway.tick();
  const [row] = await lab.database.sql<{ hash: Hex }[]>`SELECT hash FROM chain_transaction`;
  const { root } = (await gateway.logs.versions.findCheckpoint()) ?? {};
  if (!row || !root) throw new Error('nothing was signed');
  chain.proxy.decide(await lieAbout(row.hash, toHex(root), 0n));
  for (let round = 0; round < 5; round += 1) {
    await gateway.tick();
    await chain.mine(3);
    expect(await stateOf()).toEqual(['sent']);
  }
  expect(gateway.anchoring.health().anchor_84532).toContain('has a receipt, and the contract does not hold');
  // Once the node tells the truth the same transaction is broadcast, and mined.
  chain.proxy.decide(() => 'pass');
  await gateway.settle();
  expect(await stateOf()).toEqual(['final']);
  expect(await chain.readAnchors()).toHaveLength(1);
  expect(await chain.countTransactions()).toBe(1);
});

test('RPC that lies about the block of a receipt: the anchor waits for a block that bears it out', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  await gateway.tick();
  const [row] = await lab.database.sql<{ hash: Hex }[]>`SELECT hash FROM chain_transaction`;
  const { root } = (await gateway.logs.versions.findCheckpoint()) ?? {};
  if (!row || !root) throw new Error('nothing was signed');
  await chain.mine(5);
  chain.proxy.decide(await lieAbout(row.hash, toHex(root), 0n));
  for (let round = 0; round < 3; round += 1) await gateway.tick();
  expect(await stateOf()).toEqual(['sent']);
  chain.proxy.decide(() => 'pass');
  await gateway.settle();
  const [anchor] = await gateway.anchoring.anchors.list({ rowsMax: 1 });
  const receipt = (await chain.anvil.rpc('eth_getTransactionReceipt', [row.hash])) as { blockHash: Hex };
  expect(anchor).toMatchObject({ state: 'final', mined: { blockHash: receipt.blockHash } });
});

test('a log restored from an old backup: alarm, no anchor, and not ready until it is whole again', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  await gateway.settle();
  const backup = await copyDatabase();
  try {
    await gateway.grow(4);
    await gateway.settle();
    expect(await chain.readAnchors()).toHaveLength(2);
    const { errors, log } = listen();
    const restored = lab.gateway({ sql: backup.sql, log });
    for (let round = 0; round < 3; round += 1) await restored.tick();
    expect(restored.anchoring.health().anchor_84532).toContain('restored from an old backup');
    expect(restored.logs.versions.health().kind).toBe('diverged');
    const alarm = 'a log is not what was anchored: nothing more is anchored';
    expect(errors.filter((message) => message === alarm)).toHaveLength(1);
    expect(await restored.anchoring.anchors.status()).toMatchObject([
      { log: 'versions', health: { kind: 'diverged' } },
      { log: 'receipts', health: { kind: 'ok' } },
    ]);
    // Grown past the anchored size it is another history under the same name.
    const unaware = lab.gateway({ sql: backup.sql, chain: { contracts: {} } });
    await unaware.grow(9);
    const forked = lab.gateway({ sql: backup.sql });
    for (let round = 0; round < 3; round += 1) await forked.tick();
    expect(forked.anchoring.health().anchor_84532).toMatch(
      /DIVERGED: chain 84532 holds a root of size 9 that is/,
    );
    expect(await chain.countTransactions()).toBe(2);
  } finally {
    await backup.close();
  }
  // The whole database again.
  const whole = lab.gateway();
  await whole.tick();
  expect(whole.anchoring.health()).toEqual({ anchor_84532: 'ok' });
  await whole.grow(1);
  await whole.settle();
  expect(await chain.readAnchors()).toHaveLength(3);
});

test('a restored backup is signed by no gateway that starts: not before the chain was asked, and not after', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  await gateway.settle();
  const backup = await copyDatabase();
  try {
    await gateway.grow(4);
    await gateway.settle();
    const restored = lab.gateway({ sql: backup.sql, watchers: ['chain 84532'] });
    const { versions } = restored.logs;
    const before = await versions.findCheckpoint();
    // Something new is logged and due to be signed before the chain was asked, and while it does not answer.
    chain.proxy.decide(() => 'refuse');
    await restored.grow(9);
    await restored.tick();
    expect(await versions.sign()).toEqual(before);
    expect(versions.health()).toMatchObject({
      kind: 'waiting',
      detail: expect.stringContaining('chain 84532'),
    });
    chain.proxy.decide(() => 'pass');
    await restored.tick();
    await expect(versions.sign()).rejects.toThrow(LogDivergedError);
    expect(await versions.findCheckpoint()).toEqual(before);
    // Whose database is whole waits for the same look, and goes on.
    const whole = lab.gateway({ watchers: ['chain 84532'] });
    await whole.tick();
    await whole.grow(1);
    expect((await whole.logs.versions.findCheckpoint())?.treeSize).toBe(10);
  } finally {
    await backup.close();
  }
});

test('a node that lies of a fork stops signing for as long as it does, and one that shows less for a while', async () => {
  let now = Date.now();
  const gateway = lab.gateway({ clock: { now: () => new Date(now) } });
  const { versions } = gateway.logs;
  await gateway.tick();
  await gateway.grow(3);
  await gateway.settle();
  const size = async () => (await versions.findCheckpoint())?.treeSize;
  const isSigning = async () => {
    const before = await size();
    await gateway.grow(1).catch((error: unknown) => expect(error).toBeInstanceOf(LogDivergedError));
    return before !== (await size());
  };
  // Another root of the same size: the contract itself contradicts it a moment later.
  chain.proxy.decide((method) => (method === 'eth_call' ? { result: latestAnchor(5n) } : 'pass'));
  await gateway.tick();
  expect(versions.health().kind).toBe('diverged');
  expect(await isSigning()).toBe(false);
  chain.proxy.decide(() => 'pass');
  await gateway.tick();
  expect(versions.health()).toEqual({ kind: 'sound' });
  expect(await isSigning()).toBe(true);
  // A larger tree: what shows less afterwards may as well be a node that lags behind.
  chain.proxy.decide((method) => (method === 'eth_call' ? { result: latestAnchor(5_000n) } : 'pass'));
  await gateway.tick();
  chain.proxy.decide(() => 'pass');
  for (const minutes of [0, 5, 4]) {
    now += minutes * 60_000;
    await gateway.tick();
    expect(versions.health().kind).toBe('diverged');
    expect(await isSigning()).toBe(false);
  }
  now += 60_000;
  await gateway.tick();
  expect(versions.health()).toEqual({ kind: 'sound' });
  expect(await isSigning()).toBe(true);
  await gateway.settle();
  expect(gateway.anchoring.health()).toEqual({ anchor_84532: 'ok' });
});

test('a node that lags behind what is final costs no gas', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  for (let round = 0; round < 2; round += 1) {
    await gateway.grow(2);
    await gateway.settle();
  }
  const [first] = await chain.readAnchors();
  if (!first) throw new Error('nothing is anchored');
  const lagging = latestAnchor(first.treeSize, BigInt(first.root));
  chain.proxy.decide((method) => (method === 'eth_call' ? { result: lagging } : 'pass'));
  await gateway.grow(1);
  for (let round = 0; round < 3; round += 1) await gateway.tick();
  expect(gateway.anchoring.health().anchor_84532).toContain('lags behind');
  expect(await stateOf()).toEqual(['final', 'final']);
  chain.proxy.decide(() => 'pass');
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(3);
  expect(await chain.countTransactions()).toBe(3);
});

/** What `latest()` answers for an anchor of this size; without a root for one that nobody made. */
function latestAnchor(treeSize: bigint, root = BigInt(`0x${'ab'.repeat(32)}`)): Hex {
  const words = [0n, root, treeSize, 1_763_702_345n, 1n];
  return `0x${words.map((word) => toHex(word, { size: 32 }).slice(2)).join('')}`;
}

/** The database as it is now. */
async function copyDatabase() {
  const copy = await createTestDatabase();
  const { sql } = lab.database;
  const tables = [
    'log_state',
    'log_entry',
    'log_tile',
    'log_checkpoint',
    'anchor_job',
    'chain_transaction',
    'chain_wallet',
  ];
  await copy.sql.begin(async (tx) => {
    for (const table of tables) {
      const rows = await sql<{ row: string }[]>`SELECT row_to_json(t)::text AS row FROM ${sql(table)} t`;
      await tx`ALTER TABLE ${tx(table)} DISABLE TRIGGER USER`;
      await tx`DELETE FROM ${tx(table)}`;
      for (const { row } of rows) {
        await tx`INSERT INTO ${tx(table)} SELECT * FROM json_populate_record(NULL::${tx(table)}, ${row}::text::json)`;
      }
      await tx`ALTER TABLE ${tx(table)} ENABLE TRIGGER USER`;
    }
  });
  return copy;
}

test('a node that is down is waited for, and the log is not suspected', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  chain.proxy.decide(() => 'trouble');
  await gateway.tick();
  expect(gateway.anchoring.health().anchor_84532).not.toBe('ok');
  expect(gateway.anchoring.health().anchor_84532).not.toContain('DIVERGED');
  expect(gateway.logs.versions.health()).toEqual({ kind: 'sound' });
  chain.proxy.decide(() => 'pass');
  await gateway.settle();
  expect(await chain.readAnchors()).toHaveLength(1);
});

test('a node without state proofs: the anchor is final without evidence, after a while', async () => {
  let now = Date.now();
  const gateway = lab.gateway({ clock: { now: () => new Date(now) } });
  await gateway.tick();
  await gateway.grow(3);
  chain.proxy.decide((method) => (method === 'eth_getProof' ? 'trouble' : 'pass'));
  for (let round = 0; round < 4; round += 1) {
    await gateway.tick();
    await chain.mine(2);
  }
  expect(await stateOf()).toEqual(['mined']);
  expect(gateway.anchoring.health().anchor_84532).toContain('gives no state proofs');
  now += 600_000;
  await gateway.tick();
  const [anchor] = await gateway.anchoring.anchors.list({ rowsMax: 1 });
  expect(anchor).toMatchObject({ state: 'final', evidence: undefined });
  chain.proxy.decide(() => 'pass');
});

test('a node that forgot the state of the block: the proofs are of a newer one, which has to be final too', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  // The state of the block itself can no longer be asked for.
  chain.proxy.decide((method) => (method === 'eth_getBlockByHash' ? 'trouble' : 'pass'));
  await gateway.tick();
  await gateway.tick();
  await chain.mine(10);
  await gateway.tick();
  expect(await stateOf()).toEqual(['mined']);
  await chain.mine(2);
  await gateway.tick();
  const [anchor] = await gateway.anchoring.anchors.list({ rowsMax: 1 });
  const { mined, evidence } = anchor ?? {};
  if (!anchor || !mined || !evidence) throw new Error('there is no evidence');
  expect(anchor.state).toBe('final');
  expect(evidence.proof.blockNumber).toBeGreaterThan(mined.blockNumber);
  const held = { ...mined, treeSize: anchor.treeSize, root: anchor.root };
  expect(() => checkEvidence(evidence, { contract: anchor.contract, held })).not.toThrow();
});

test('a node that answers with proofs of something else: they are not kept', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  await gateway.tick();
  await gateway.tick();
  const slots = [`0x${'11'.repeat(32)}`, `0x${'22'.repeat(32)}`];
  const wrong = await chain.anvil.rpc('eth_getProof', [chain.contracts.versions, slots, 'latest']);
  chain.proxy.decide((method) => (method === 'eth_getProof' ? { result: wrong } : 'pass'));
  for (let round = 0; round < 4; round += 1) {
    await gateway.tick();
    await chain.mine(1);
  }
  expect(await lab.database.sql`SELECT state, proof FROM anchor_job`).toMatchObject([
    { state: 'mined', proof: null },
  ]);
  chain.proxy.decide(() => 'pass');
  await gateway.settle();
  const [anchor] = await gateway.anchoring.anchors.list({ rowsMax: 1 });
  expect(anchor?.evidence).toBeDefined();
});
