import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { withTransaction } from '../../src/db/index.ts';
import {
  commitTo,
  decodeCommitment,
  encodeCommitment,
  leafHashOf,
  merkleRoot,
  newReceiptKeyPem,
  type Receipts,
  type TransparencyLog,
} from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import {
  chargeBatch,
  createCall,
  createDraft,
  createReceiptsLog,
  createSigner,
  createTestReceipts,
  PAYER,
  PAYLOAD,
} from './fixtures.ts';

const databases: TestDatabase[] = [];
let database: TestDatabase;
let log: TransparencyLog;
const pem = newReceiptKeyPem();

beforeEach(async () => {
  database = await createTestDatabase({ poolMax: 30 });
  databases.push(database);
  log = createReceiptsLog(database.sql, pem);
});
afterAll(async () => {
  for (const { close } of databases) await close();
});

const open = (overrides: Parameters<typeof createTestReceipts>[1] = {}): Receipts =>
  createTestReceipts(database.sql, { receiptsLog: log, ...overrides });

async function charge(receipts: Receipts, toolId: Uuid, count: number): Promise<Uuid[]> {
  const calls = Array.from({ length: count }, () => createCall(createDraft({ toolId })));
  await chargeBatch(database.sql, receipts.rider, calls);
  return calls.map(({ id }) => id);
}

async function append(receipts: Receipts, toolId: Uuid): Promise<Uuid> {
  const id = newUuid();
  await withTransaction(database.sql, (tx) =>
    receipts.append(tx, {
      ...createDraft({ toolId, rail: 'evm' }),
      id,
      accountId: PAYER,
      price: 250n,
      fee: 50n,
    }),
  );
  return id;
}

async function drain(receipts: Receipts): Promise<number> {
  let logged = 0;
  for (;;) {
    const more = await receipts.logReceipts();
    if (more === 0) return logged;
    logged += more;
  }
}

async function readEntries() {
  const entries: { leafIndex: number; entry: Buffer }[] = [];
  for (;;) {
    const page = await log.readEntries({ fromIndex: entries.length, entriesMax: 1_000 });
    if (page.length === 0) return entries;
    entries.push(...page);
  }
}

/** Every lane of the log counts 1, 2, 3, ..., every leaf is opened by one receipt, and nothing waits. */
async function expectWholeLog(count: number): Promise<void> {
  const entries = await readEntries();
  expect(entries).toHaveLength(count);
  const lanes = new Map<string, number>();
  for (const { entry } of entries) {
    const leaf = decodeCommitment(entry);
    if (!leaf) throw new Error(`not an entry: ${entry}`);
    expect(leaf.seq).toBe((lanes.get(leaf.lane) ?? 0) + 1);
    lanes.set(leaf.lane, leaf.seq);
  }
  const rows = await database.sql`
    SELECT DISTINCT leaf_index + n FROM receipt_commitment, generate_series(0, receipt_count - 1) AS n`;
  expect(rows).toHaveLength(count);
  expect(await database.sql`SELECT 1 FROM receipt_unlogged`).toHaveLength(0);
  const { root, treeSize } = await log.readHead();
  expect(treeSize).toBe(count);
  expect(root).toEqual(merkleRoot(entries.map(({ entry }) => leafHashOf(entry))));
}

describe('a receipt in the receipts log', () => {
  it('opens its entry with its salt, whether a key or a credential paid', async () => {
    const receipts = open();
    const toolId = newUuid();
    const hard = '"\\\u0001\u2028\ud83d\ude00{},NULL';
    const hostile = createCall(createDraft({ toolId, toolName: hard, payer: hard, paymentRef: hard }));
    await chargeBatch(database.sql, receipts.rider, [hostile]);
    const ids = [hostile.id, ...(await charge(receipts, toolId, 2)), await append(receipts, toolId)];
    await receipts.sealOpenBatches();
    expect(await receipts.logReceipts()).toBe(4);
    const entries = await readEntries();
    const sales = await receipts.listSales({ toolId, after: { lane: '', seq: 0n }, salesMax: 10 });
    expect(sales.map(({ payload }) => payload.jti)).toEqual(ids);
    for (const { payload, log: place } of sales) {
      if (!place) throw new Error('not logged');
      const entry = encodeCommitment(commitTo(payload, Buffer.from(place.salt, 'hex')));
      expect(entries[place.index]?.entry).toEqual(entry);
    }
    await expectWholeLog(4);
  });

  it('waits for its predecessor, which waits for its seal', async () => {
    const receipts = open();
    const toolId = newUuid();
    await charge(receipts, toolId, 2);
    await append(receipts, toolId);
    const other = newUuid();
    await append(receipts, other);
    expect(await receipts.logReceipts()).toBe(1);
    await receipts.sealOpenBatches();
    expect(await receipts.logReceipts()).toBe(3);
    const entries = (await readEntries()).map(({ entry }) => decodeCommitment(entry)?.seq);
    expect(entries).toEqual([1, 1, 2, 3]);
  });

  it('enters once with 20 jobs of several gateways at once', async () => {
    const gateways = Array.from({ length: 4 }, () => open());
    const tools = [newUuid(), newUuid(), newUuid()];
    for (const receipts of gateways) {
      for (const toolId of tools) await charge(receipts, toolId, 40);
      for (const toolId of tools) await append(receipts, toolId);
    }
    await Promise.all(gateways.map((receipts) => receipts.sealOpenBatches()));
    const jobs = Array.from({ length: 20 }, (_, at) => gateways[at % 4]?.logReceipts());
    const logged = await Promise.all(jobs);
    const total = logged.reduce<number>((sum, count) => sum + (count ?? 0), 0);
    const rest = await drain(gateways[0] ?? open());
    expect(total + rest).toBe(4 * 3 * 41);
    expect(total).toBeGreaterThan(0);
    for (const toolId of tools) {
      const sales = await gateways[0]?.listSales({ toolId, after: { lane: '', seq: 0n }, salesMax: 500 });
      expect(sales).toHaveLength(4 * 41);
      expect(sales?.every((sale) => sale.log !== undefined)).toBe(true);
    }
    expect((await log.readHead()).treeSize).toBe(4 * 3 * 41);
    expect(await database.sql`SELECT 1 FROM receipt_unlogged`).toHaveLength(0);
    const perLane = await database.sql<{ lane: string; toolId: string; loggedSeq: bigint }[]>`
      SELECT * FROM receipt_lane_logged`;
    expect(perLane).toHaveLength(12);
    for (const { loggedSeq } of perLane) expect(loggedSeq).toBe(41n);
  });

  it('is neither lost nor logged twice when the gateway dies between append and commit', async () => {
    const crashing = {
      ...log,
      appendWritten: async (...[tx, write]: Parameters<TransparencyLog['appendWritten']>) => {
        const written = await log.appendWritten(tx, write);
        await tx`SELECT pg_terminate_backend(pg_backend_pid())`;
        return written;
      },
    };
    const toolId = newUuid();
    const dying = open({ receiptsLog: crashing });
    await charge(dying, toolId, 5);
    await dying.sealOpenBatches();
    await dying.logReceipts().catch(() => {});
    expect((await log.readHead()).treeSize).toBe(0);
    expect(await database.sql`SELECT sum(receipt_count)::int AS count FROM receipt_unlogged`).toEqual([
      { count: 5 },
    ]);
    expect(await open().logReceipts()).toBe(5);
    expect(await open().logReceipts()).toBe(0);
    await expectWholeLog(5);
  });

  it('is not logged again when only the answer to its commit was lost', async () => {
    const receipts = open();
    const toolId = newUuid();
    const ids = await charge(receipts, toolId, 3);
    await receipts.sealOpenBatches();
    await receipts.logReceipts();
    // A queue row that came back, as from a restored table, meets the lane that is past it.
    await database.sql`INSERT INTO receipt_unlogged (bucket, tool_id, version_id, lane, seq, receipt_count)
      SELECT 0, tool_id, version_id, lane, seq, 1 FROM receipt WHERE id = ANY(${ids})`;
    expect(await receipts.logReceipts()).toBe(0);
    expect((await log.readHead()).treeSize).toBe(3);
  });

  it('keeps no other lane waiting when it cannot be logged, and follows when it can', async () => {
    const broken = newUuid();
    let isBroken = false;
    const describeVersion = async (id: Uuid) =>
      isBroken && id === broken
        ? undefined
        : { name: 'acme/x', version: '1.0.0', codeSha256: 'ab'.repeat(32), logIndex: 0n };
    const receipts = open({ describeVersion });
    await chargeBatch(database.sql, receipts.rider, [createCall(createDraft({ versionId: broken }))]);
    await charge(receipts, newUuid(), 2);
    await receipts.sealOpenBatches();
    isBroken = true;
    const later = open({ describeVersion });
    expect(await later.logReceipts()).toBe(2);
    isBroken = false;
    expect(await later.logReceipts()).toBe(1);
  });

  it('is found behind thousands that cannot be logged yet', async () => {
    const stuck = open();
    const toolId = newUuid();
    await charge(stuck, toolId, 1);
    const rows = Array.from({ length: 9_000 }, () => createCall(createDraft({ toolId })));
    await chargeBatch(database.sql, stuck.rider, rows);
    // The second batch is sealed and the first is not: 9,000 wait in the queue for one that is not in it.
    const [first, second] = await database.sql<
      { id: Uuid }[]
    >`SELECT id FROM receipt_batch ORDER BY leaf_count`;
    await stuck.sealBatch(second?.id ?? '');
    const other = open();
    const id = await append(other, newUuid());
    // A call looks at some of the queue, and the next goes on from there.
    const seen = [await other.logReceipts(), await other.logReceipts(), await other.logReceipts()];
    expect(seen.reduce((sum, count) => sum + count)).toBe(1);
    expect((await other.getReceipt(id))?.payload.seq).toBe(1);
    await stuck.sealBatch(first?.id ?? '');
    let total = 0;
    for (let at = 0; at < 6; at++) total += await other.logReceipts();
    expect(total).toBe(9_001);
  });

  it('of a busy lane enters as quickly when other lanes stand behind it', async () => {
    const receipts = open();
    // Lanes stand in the order of their tools.
    const [busy = '', other = ''] = [newUuid(), newUuid()].sort();
    const rows = Array.from({ length: 9_000 }, () => createCall(createDraft({ toolId: busy })));
    await chargeBatch(database.sql, receipts.rider, rows);
    await receipts.sealOpenBatches();
    await append(receipts, other);
    expect(await receipts.logReceipts()).toBe(8_001);
    await append(receipts, other);
    expect(await receipts.logReceipts()).toBe(1_001);
    expect((await log.readHead()).treeSize).toBe(9_002);
    expect(await database.sql`SELECT 1 FROM receipt_unlogged`).toHaveLength(0);
  });

  it('that nothing fixed is looked at a bounded number at a time, however many wait', async () => {
    const receipts = open();
    const toolId = newUuid();
    await append(receipts, toolId);
    await database.sql`INSERT INTO receipt (bucket, id, tool_id, version_id, tool_name, lane, seq, payer, price, fee, rail, payment_ref, request_hash, response_hash)
      SELECT bucket, gen_random_uuid(), tool_id, version_id, tool_name, lane, n, payer, price, fee, rail, payment_ref, request_hash, response_hash
      FROM receipt, generate_series(2, 20000) AS n WHERE tool_id = ${toolId}`;
    await database.sql`INSERT INTO receipt_unlogged (bucket, tool_id, version_id, lane, seq, receipt_count)
      SELECT 0, tool_id, version_id, lane, seq, 1 FROM receipt WHERE tool_id = ${toolId} AND seq > 1`;
    expect(await receipts.logReceipts()).toBe(8_000);
    const [{ fixed } = { fixed: 0 }] = await database.sql<{ fixed: number }[]>`
      SELECT count(*)::int AS fixed FROM receipt_unlogged WHERE commitments IS NOT NULL`;
    expect(fixed).toBe(0);
    expect(await drain(receipts)).toBe(12_000);
    await expectWholeLog(20_000);
  });

  it('is found behind lanes of which none can be logged', async () => {
    const known = newUuid();
    const describeVersion = async (id: Uuid) =>
      id === known
        ? { name: 'acme/x', version: '1.0.0', codeSha256: 'ab'.repeat(32), logIndex: 0n }
        : undefined;
    const receipts = open({ describeVersion });
    const toolIds = Array.from({ length: 7 }, () => newUuid()).sort();
    const last = toolIds.at(-1) ?? '';
    for (const toolId of toolIds) {
      const versionId = toolId === last ? known : newUuid();
      await withTransaction(database.sql, (tx) =>
        receipts.append(tx, {
          ...createDraft({ toolId, versionId, rail: 'evm' }),
          ...{ id: newUuid(), accountId: PAYER, price: 250n, fee: 50n },
        }),
      );
    }
    await expect(receipts.logReceipts()).rejects.toThrow('not in the catalog');
    expect(await receipts.logReceipts()).toBe(1);
  });

  it('is found behind thousands that are queued and not there', async () => {
    const receipts = open();
    await database.sql`INSERT INTO receipt_unlogged (bucket, tool_id, version_id, lane, seq, receipt_count)
      SELECT 0, '00000000-0000-7000-8000-000000000001', ${createDraft().versionId}, 'gone', n, 1
      FROM generate_series(1, 4500) AS n`;
    await append(receipts, newUuid());
    expect(await receipts.logReceipts()).toBe(1);
    expect(await receipts.logReceipts()).toBe(0);
  });

  it('from before seals fixed commitments enters it once the queue is made, under the issuer of its seal', async () => {
    const receipts = open();
    const toolId = newUuid();
    await charge(receipts, toolId, 3);
    await receipts.sealOpenBatches();
    await append(receipts, toolId);
    await charge(receipts, toolId, 2);
    await database.sql`DELETE FROM receipt_unlogged`;
    expect(await receipts.logReceipts()).toBe(0);
    // As migrations 0013, 0017 and 0018 fill it.
    await database.sql`INSERT INTO receipt_unlogged (bucket, tool_id, version_id, lane, seq, receipt_count)
      SELECT 0, r.tool_id, r.version_id, r.lane, r.seq, 1
      FROM receipt r LEFT JOIN receipt_batch b ON b.id = r.batch_id WHERE r.batch_id IS NULL OR b.signed_at IS NOT NULL`;
    const moved = open({ signer: createSigner('https://moved.example'), logOrigin: 'moved.example' });
    expect(await moved.logReceipts()).toBe(4);
    const issuers = await database.sql`
      SELECT iss, sum(receipt_count)::int AS count FROM receipt_commitment GROUP BY iss ORDER BY count`;
    expect(issuers).toEqual([
      { iss: 'https://moved.example', count: 1 },
      { iss: expect.not.stringContaining('moved'), count: 3 },
    ]);
    await receipts.sealOpenBatches();
    expect(await receipts.logReceipts()).toBe(2);
    await expectWholeLog(6);
  });

  it('keeps the issuer its batch was sealed under, however that is spelled, when another logs it', async () => {
    const hard = '"\\\u0001\u2028\ud83d\ude00?>~\u00ff';
    const toolId = newUuid();
    for (const more of ['', 'a', 'ab', 'abc']) {
      const issuer = `https://x/${hard}${more}`;
      const before = open({ signer: createSigner(issuer), logOrigin: `${hard}${more}` });
      const [id = ''] = await charge(before, toolId, 2);
      await before.sealOpenBatches();
      const after = open({ signer: createSigner('https://moved.example'), logOrigin: 'moved.example' });
      expect(await after.logReceipts()).toBe(2);
      await log.sign();
      const receipt = await after.getReceipt(id);
      expect(receipt?.payload).toMatchObject({ iss: issuer, log: { origin: `${hard}${more}` } });
      // What was logged is what the payload gives, or this would have thrown.
      expect(receipt?.log).toBeDefined();
    }
  });

  it('keeps the issuer it was committed under when the gateway moves', async () => {
    const toolId = newUuid();
    const before = open();
    const ids = [await append(before, toolId), ...(await charge(before, toolId, 1))];
    await before.sealOpenBatches();
    await before.logReceipts();
    await log.sign();
    const after = open({ signer: createSigner('https://moved.example'), logOrigin: 'moved.example' });
    for (const id of ids) {
      const [old, now] = [await before.getReceipt(id), await after.getReceipt(id)];
      expect(now?.payload).toEqual(old?.payload);
      expect(now?.log).toEqual(old?.log);
      expect(now?.log).toBeDefined();
    }
  });
});

describe('an entry of the receipts log', () => {
  const entry = commitTo(PAYLOAD, Buffer.alloc(16, 7));

  it('has one spelling', () => {
    const bytes = encodeCommitment(entry);
    expect(bytes.toString()).toBe(
      `mcp-receipt/v1\ntool acme/text-stats\nlane 0011223344556677\nseq 42\ncommit ${entry.commit}\n`,
    );
    expect(decodeCommitment(bytes)).toEqual(entry);
    const text = bytes.toString();
    for (const wrong of [
      text.slice(0, -1),
      `${text}\n`,
      text.replace('v1', 'v2'),
      text.replace('seq 42', 'seq 042'),
      text.replace('seq 42', 'seq 0'),
      text.replace('seq 42', 'seq 9007199254740993'),
      text.replace('lane ', 'lane  '),
      text.replace(entry.commit, entry.commit.toUpperCase()),
      text.replace('\n', '\r\n'),
      text.replace('lane', 'road'),
      '',
    ]) {
      expect(decodeCommitment(Buffer.from(wrong)), wrong).toBeUndefined();
    }
  });

  it('tells nothing of payer, price or request', () => {
    const text = encodeCommitment(entry).toString();
    for (const secret of [PAYLOAD.payer, PAYLOAD.jti, PAYLOAD.req, PAYLOAD.res, PAYLOAD.payment_ref, '250']) {
      expect(text).not.toContain(secret);
    }
    expect(commitTo(PAYLOAD, Buffer.alloc(16, 8)).commit).not.toBe(entry.commit);
  });
});
