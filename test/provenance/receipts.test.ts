import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { withTransaction } from '../../src/db/index.ts';
import {
  createReceiptSigner,
  newReceiptKeyPem,
  type Receipts,
  verifyBatchProof,
  verifyReceipt,
} from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import {
  type Call,
  chargeBatch,
  createCall,
  createDraft,
  createSigner,
  createTestReceipts,
  PAYER,
} from './fixtures.ts';

const databases: TestDatabase[] = [];
let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
  databases.push(database);
});
afterAll(async () => {
  for (const { close } of databases) await close();
});

async function charge(receipts: Receipts, count: number): Promise<Call[]> {
  const calls = Array.from({ length: count }, () => createCall());
  await chargeBatch(database.sql, receipts.rider, calls);
  return calls;
}

async function get(receipts: Receipts, id: string) {
  const receipt = await receipts.getReceipt(id);
  if (!receipt) throw new Error(`no receipt ${id}`);
  return receipt;
}

async function getSealed(receipts: Receipts, id: string) {
  const { batch, ...receipt } = await get(receipts, id);
  if (!batch) throw new Error(`receipt ${id} is not sealed`);
  return { ...receipt, batch };
}

async function listBatches() {
  return database.sql`SELECT * FROM receipt_batch ORDER BY opened_at`;
}

describe('the receipt of a key-paid call', () => {
  it('can be had, signed, the moment the call is charged', async () => {
    const signer = createSigner();
    const receipts = createTestReceipts(database.sql, { signer });
    const draft = createDraft();
    const call = createCall(draft);
    await chargeBatch(database.sql, receipts.rider, [call]);
    const { payload, jws, batch } = await get(receipts, call.id);
    expect(batch).toBeUndefined();
    expect(await verifyReceipt(jws, signer.jwks())).toMatchObject({ kind: 'valid', payload });
    expect(payload).toMatchObject({
      jti: call.id,
      server: 'acme/text-stats',
      tool: 'count_words',
      tool_id: draft.toolId,
      version: '1.2.3',
      log: { index: 7 },
      seq: 1,
      price_mcents: '250',
      fee_mcents: '50',
      rail: 'key',
      payment_ref: draft.paymentRef,
      req: `sha256:${draft.requestHash.toString('hex')}`,
      res: `sha256:${draft.responseHash.toString('hex')}`,
    });
  });

  it('does not exist for an id that is none, unknown or of a free call', async () => {
    const receipts = createTestReceipts(database.sql);
    const free = createCall(createDraft(), 0n);
    await chargeBatch(database.sql, receipts.rider, [free]);
    for (const id of [free.id, newUuid(), 'not-an-id', '']) {
      expect(await receipts.getReceipt(id)).toBeUndefined();
    }
  });
});

describe('the count of what a tool sold', () => {
  it('covers every gateway and every way to pay, and nothing that was free', async () => {
    const toolId = newUuid();
    const gateways = [createTestReceipts(database.sql), createTestReceipts(database.sql)];
    for (const receipts of gateways) {
      const amounts = [250n, 250n, 0n];
      const calls = amounts.map((amount) => createCall(createDraft({ toolId }), amount));
      await chargeBatch(database.sql, receipts.rider, calls);
      await withTransaction(database.sql, (tx) =>
        receipts.append(tx, {
          ...createDraft({ toolId }),
          id: newUuid(),
          accountId: PAYER,
          price: 1n,
          fee: 0n,
        }),
      );
    }
    expect(await gateways[0]?.countSold(toolId)).toBe(6n);
    expect(await gateways[0]?.countSold(newUuid())).toBe(0n);
  });
});

describe('a sealed batch', () => {
  it.each([1, 2, 3, 7, 64])('of %i proves each of its receipts by path, for one signature', async (count) => {
    const signer = createSigner();
    const receipts = createTestReceipts(database.sql, { signer });
    const calls = await charge(receipts, count);
    expect(await receipts.sealOpenBatches()).toBe(1);
    const signatures = new Set<string>();
    for (const [index, call] of calls.entries()) {
      const { payload, batch } = await getSealed(receipts, call.id);
      signatures.add(batch.jws);
      expect(batch).toMatchObject({ index, leaf_count: count });
      const verdict = await verifyBatchProof(payload, batch, signer.jwks());
      expect(verdict).toEqual({ kind: 'valid', payload, kid: signer.kid });
    }
    expect(signatures.size).toBe(1);
  });

  it('proves no receipt with any field changed, at another index, or with another path', async () => {
    const signer = createSigner();
    const receipts = createTestReceipts(database.sql, { signer });
    const calls = await charge(receipts, 5);
    await receipts.sealOpenBatches();
    const { payload, batch } = await getSealed(receipts, calls[2]?.id ?? '');
    const attempts = [
      ...Object.entries(payload).map(([field, value]) => [
        { ...payload, [field]: typeof value === 'number' ? value + 1 : `${value}0` },
        batch,
      ]),
      [payload, { ...batch, index: 3 }],
      [payload, { ...batch, leaf_count: 6 }],
      [payload, { ...batch, path: batch.path.slice(1) }],
      [payload, { ...batch, path: [...batch.path].reverse() }],
      [payload, { ...batch, path: ['zz'] }],
      [payload, { ...batch, path: Array.from({ length: 1000 }, () => '00'.repeat(32)) }],
      [payload, { ...batch, jws: signer.sign(payload) }],
      [payload, { ...batch, jws: 'nonsense' }],
      [null, batch],
    ] as const;
    for (const [changed, proof] of attempts) {
      expect((await verifyBatchProof(changed, proof as typeof batch, signer.jwks())).kind).toBe('invalid');
    }
    expect((await verifyBatchProof(payload, batch, createSigner().jwks())).kind).toBe('invalid');
  });

  it('holds the leaf that the payload gives, whatever its texts are made of', async () => {
    const text = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 30 })
      .filter((value) => !value.includes('\0'));
    const texts = fc.sample(fc.tuple(text, text, text, text), 100);
    const controls = Array.from({ length: 31 }, (_, at) => String.fromCharCode(at + 1)).join('');
    const hard = `${controls}\u007f\u0080\u2028\u2029"\\/<>&'{},NULL\u{1f600}\ufffe`;
    const signer = createReceiptSigner({
      issuer: `https://x/${hard}`,
      privateKey: newReceiptKeyPem(),
      retiredPublicKeys: [],
    });
    const receipts = createTestReceipts(database.sql, {
      signer,
      lane: hard,
      logOrigin: hard,
      describeVersion: async () => ({
        name: hard,
        version: hard,
        codeSha256: 'ab'.repeat(32),
        logIndex: 2n ** 53n - 1n,
      }),
    });
    const calls = [[hard, hard, hard, hard], ...texts].map(
      ([toolName = '', payer = '', rail = '', paymentRef = '']) =>
        createCall(createDraft({ toolName, payer, rail, paymentRef })),
    );
    await chargeBatch(database.sql, receipts.rider, calls);
    await receipts.sealOpenBatches();
    for (const { id, draft } of calls) {
      const { payload, batch } = await getSealed(receipts, id);
      expect(payload).toMatchObject({ tool: draft?.toolName, payer: draft?.payer, rail: draft?.rail });
      expect((await verifyBatchProof(payload, batch, signer.jwks())).kind).toBe('valid');
    }
  });

  it('gives the same answer every time it is asked', async () => {
    const receipts = createTestReceipts(database.sql);
    const [call] = await charge(receipts, 3);
    await receipts.sealOpenBatches();
    expect(await get(receipts, call?.id ?? '')).toEqual(await get(receipts, call?.id ?? ''));
  });

  it('is sealed once: again, or by 8 gateways at once, changes nothing', async () => {
    const gateways = Array.from({ length: 8 }, () => createTestReceipts(database.sql));
    const [first] = gateways;
    if (!first) return;
    for (let at = 0; at < 5; at++) await charge(first, 3);
    const sealed = await Promise.all(gateways.map((gateway) => gateway.sealOpenBatches()));
    expect(sealed.reduce((sum, count) => sum + count)).toBe(5);
    const before = await listBatches();
    for (const { id } of before) await first.sealBatch(id);
    expect(await first.sealOpenBatches()).toBe(0);
    expect(await listBatches()).toEqual(before);
  });

  it('is never changed: the database refuses it even to its owner', async () => {
    const receipts = createTestReceipts(database.sql);
    await charge(receipts, 2);
    await receipts.sealOpenBatches();
    await expect(database.sql`UPDATE receipt_batch SET jws = 'x'`).rejects.toThrow(/never rewritten/);
  });

  it('that a crash left open is sealed by the next gateway', async () => {
    const crashed = createTestReceipts(database.sql);
    const [call] = await charge(crashed, 4);
    const signer = createSigner();
    const next = createTestReceipts(database.sql, { signer });
    expect(await next.sealOpenBatches()).toBe(1);
    const { payload, batch } = await getSealed(next, call?.id ?? '');
    expect((await verifyBatchProof(payload, batch, signer.jwks())).kind).toBe('valid');
  });

  it('is left for a while to the gateway that wrote it, which has it hashed already', async () => {
    const [own, other] = [0, 1].map(() => createTestReceipts(database.sql, { leftOpenMs: 60_000 }));
    if (!own || !other) return;
    const [call] = await charge(own, 3);
    expect(await other.sealOpenBatches()).toBe(0);
    expect(await own.sealOpenBatches()).toBe(1);
    expect((await getSealed(own, call?.id ?? '')).batch.leaf_count).toBe(3);
    await charge(own, 2);
    await database.sql`UPDATE receipt_batch SET opened_at = opened_at - interval '61 seconds' WHERE signed_at IS NULL`;
    expect(await other.sealOpenBatches()).toBe(1);
    expect(await own.sealOpenBatches()).toBe(0);
  });

  it('that could not be sealed at first is read from its rows, and keeps no other waiting', async () => {
    const signer = createSigner();
    let failures = 1;
    const failing = {
      ...signer,
      signBatch: (payload: Parameters<typeof signer.signBatch>[0]) => {
        if (failures-- > 0) throw new Error('no signature now');
        return signer.signBatch(payload);
      },
    };
    const own = createTestReceipts(database.sql, { signer: failing });
    const [mine] = await charge(own, 3);
    const [others] = await charge(createTestReceipts(database.sql), 2);
    expect(await own.sealOpenBatches()).toBe(2);
    for (const call of [mine, others]) {
      const { payload, batch } = await getSealed(own, call?.id ?? '');
      expect((await verifyBatchProof(payload, batch, signer.jwks())).kind).toBe('valid');
    }
  });

  it('can be sealed by its id', async () => {
    const receipts = createTestReceipts(database.sql);
    await charge(receipts, 2);
    await charge(receipts, 2);
    const [first] = await listBatches();
    await receipts.sealBatch(first?.id);
    await receipts.sealBatch(newUuid());
    expect((await listBatches()).map(({ signedAt }) => signedAt !== null)).toEqual([true, false]);
  });

  it('does not keep others open when one of them cannot be sealed', async () => {
    const broken = newUuid();
    const receipts = createTestReceipts(database.sql, {
      describeVersion: async (versionId) =>
        versionId === broken
          ? undefined
          : { name: 'acme/x', version: '1.0.0', codeSha256: 'ab'.repeat(32), logIndex: 0n },
    });
    await chargeBatch(database.sql, receipts.rider, [createCall(createDraft({ versionId: broken }))]);
    for (let at = 0; at < 3; at++) await charge(receipts, 2);
    expect(await receipts.sealOpenBatches()).toBe(3);
    expect((await listBatches()).filter(({ signedAt }) => signedAt === null)).toHaveLength(1);
  });

  it('stays provable after the issuer moved and its key was rotated', async () => {
    const oldKey = newReceiptKeyPem();
    const before = createTestReceipts(database.sql, {
      signer: createReceiptSigner({
        issuer: 'https://old.example',
        privateKey: oldKey,
        retiredPublicKeys: [],
      }),
    });
    const [call] = await charge(before, 3);
    await before.sealOpenBatches();
    const signer = createReceiptSigner({
      issuer: 'https://new.example',
      privateKey: newReceiptKeyPem(),
      retiredPublicKeys: [oldKey],
    });
    const after = createTestReceipts(database.sql, { signer, logOrigin: 'new.example/versions' });
    const { payload, jws, batch } = await getSealed(after, call?.id ?? '');
    expect(payload.iss).toBe('https://old.example');
    expect((await verifyBatchProof(payload, batch, signer.jwks())).kind).toBe('valid');
    expect((await verifyReceipt(jws, signer.jwks())).kind).toBe('valid');
  });

  it('asks the catalog once for a version, however many receipts name it', async () => {
    let asked = 0;
    const receipts = createTestReceipts(database.sql, {
      describeVersion: async () => {
        asked++;
        return { name: 'acme/x', version: '1.0.0', codeSha256: 'ab'.repeat(32), logIndex: 0n };
      },
    });
    const versionId = newUuid();
    const calls = Array.from({ length: 50 }, () => createCall(createDraft({ versionId })));
    for (const call of calls) await chargeBatch(database.sql, receipts.rider, [call]);
    expect(await receipts.sealOpenBatches()).toBe(50);
    expect(asked).toBe(1);
  });
});

describe('the receipt of a call paid by credential', () => {
  it('is signed by itself and belongs to no batch', async () => {
    const signer = createSigner();
    const receipts = createTestReceipts(database.sql, { signer });
    const id = newUuid();
    const draft = createDraft({
      rail: 'evm',
      payer: 'eip155:84532:0x1111111111111111111111111111111111111111',
    });
    const { seq } = await withTransaction(database.sql, (tx) =>
      receipts.append(tx, { ...draft, id, accountId: PAYER, price: 250n, fee: 50n }),
    );
    expect(await receipts.sealOpenBatches()).toBe(0);
    const { payload, jws, batch } = await get(receipts, id);
    expect(batch).toBeUndefined();
    expect(payload).toMatchObject({ jti: id, rail: 'evm', payer: draft.payer, seq: Number(seq) });
    expect((await verifyReceipt(jws, signer.jwks())).kind).toBe('valid');
    expect((await get(receipts, id)).jws).toBe(jws);
  });
});
