import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/core/canonical-json.ts';
import { newUuid } from '../../src/core/ids.ts';
import { newLane } from '../../src/provenance/index.ts';
import { commitTo } from '../../src/provenance/receipts/commitments/commitment.ts';
import { createFreshBatches } from '../../src/provenance/receipts/fresh.ts';
import { hashBatch, toFacts } from '../../src/provenance/receipts/leaves.ts';
import {
  createReceiptHasher,
  hashPayload,
  spellPayloads,
} from '../../src/provenance/receipts/payload-bytes.ts';
import {
  type Receipt,
  type ReceiptDraft,
  receiptLeafHash,
  toReceiptPayload,
} from '../../src/provenance/receipts/receipt.ts';
import { createReceiptRider, readWritten } from '../../src/provenance/receipts/rider.ts';
import { readBatchReceipts } from '../../src/provenance/receipts/store.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { type Call, chargeBatch, createCall, createDraft } from './fixtures.ts';

const VERSION = { name: 'acme/text-stats', version: '1.2.3', codeSha256: 'c0de'.repeat(16), logIndex: 7n };
const ISSUER = { iss: 'https://market.example', log: 'market.example/versions' };

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 12 });
});
afterAll(() => database.close());

describe('what is hashed of a receipt', () => {
  const text = fc.string({ unit: 'binary', maxLength: 40 });
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
  const receipts = fc
    .record({
      texts: fc.tuple(text, text, text, text, text),
      version: fc.record({
        name: text,
        version: text,
        logIndex: fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }),
      }),
      issuer: fc.record({ iss: text, log: text }),
      numbers: fc.tuple(
        fc.bigInt({ min: 1n, max: 2n ** 53n - 1n }),
        fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }),
        fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
      ),
      at: fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }),
      hashes: fc.tuple(hash, hash),
    })
    .map(({ texts: [toolName, payer, rail, paymentRef, lane], version, issuer, numbers, at, hashes }) => {
      const [requestHash, responseHash] = hashes;
      const [seq, price, fee] = numbers;
      const receipt: Receipt = {
        ...createDraft({ toolName, payer, rail, paymentRef, requestHash, responseHash }),
        ...{ id: newUuid(), lane, seq, price, fee, batchId: null, issuedAt: at },
      };
      return { receipt, version: { ...version, codeSha256: 'ab'.repeat(32) }, issuer };
    });

  it('is the canonical JSON of its payload, whatever its texts are made of', () => {
    fc.assert(
      fc.property(receipts, ({ receipt, version, issuer }) => {
        const payload = toReceiptPayload(receipt, version, issuer);
        const spelled = spellPayloads(issuer)(toFacts(receipt), version);
        expect(spelled).toBe(canonicalJson(payload));
        const salt = Buffer.alloc(16, 9);
        const { leaf, commitment } = hashPayload(spelled, salt, 0);
        expect(Buffer.from(leaf, 'binary')).toEqual(receiptLeafHash(payload));
        expect(Buffer.from(commitment, 'binary').toString('hex')).toBe(commitTo(payload, salt).commit);
      }),
      { numRuns: 500 },
    );
  });

  it('is so for each of many in a row, whichever of their members are alike', () => {
    // Mostly of the first: what is alike has to be so by chance in all members but one or two.
    const origin = fc.constantFrom(0, 0, 0, 0, 1, 2);
    const step = fc.record({ from: fc.array(origin, { minLength: 15, maxLength: 15 }) });
    fc.assert(
      fc.property(
        fc.tuple(receipts, receipts, receipts),
        fc.array(step, { maxLength: 12 }),
        (three, steps) => {
          const { issuer } = three[0];
          const spell = spellPayloads(issuer);
          const hashReceipt = createReceiptHasher(issuer);
          const salt = Buffer.alloc(16, 9);
          for (const { from } of steps) {
            const of = <Key extends keyof Receipt>(key: Key, at: number) =>
              ({ [key]: three[from[at] ?? 0]?.receipt[key] }) as Pick<Receipt, Key>;
            const receipt: Receipt = {
              ...three[0].receipt,
              ...{
                ...of('toolName', 0),
                ...of('payer', 1),
                ...of('rail', 2),
                ...of('paymentRef', 3),
                ...of('lane', 4),
              },
              ...{
                ...of('seq', 5),
                ...of('price', 6),
                ...of('fee', 7),
                ...of('issuedAt', 8),
                ...of('id', 9),
              },
              ...{ ...of('requestHash', 10), ...of('responseHash', 11), ...of('toolId', 13) },
            };
            // As with a key, whose receipts name their calls.
            if (from[14] !== 2) receipt.paymentRef = receipt.id;
            const { version } = three[from[12] ?? 0] ?? three[0];
            const payload = toReceiptPayload(receipt, version, issuer);
            expect(spell(toFacts(receipt), version)).toBe(canonicalJson(payload));
            const hashes = hashReceipt({ receipt: toFacts(receipt), version }, salt, 0);
            expect(Buffer.from(hashes.leaf, 'binary')).toEqual(receiptLeafHash(payload));
            expect(Buffer.from(hashes.commitment, 'binary').toString('hex')).toBe(
              commitTo(payload, salt).commit,
            );
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** What the rider tells of a batch that was charged. */
async function writeBatch(calls: readonly Call[], lane = newLane()) {
  const written: ReturnType<typeof readWritten>[] = [];
  const fresh = { add: (id: string, receipts: never) => written.push({ id, receipts }) };
  await chargeBatch(database.sql, createReceiptRider({ lane, fresh: fresh as never }), calls);
  return written;
}

async function expectAsStored(batch: ReturnType<typeof readWritten>): Promise<void> {
  const rows = await readBatchReceipts(database.sql, [batch?.id ?? '']);
  const versions = new Map(rows.map(({ versionId }) => [versionId, VERSION]));
  const stored = rows.map(toFacts);
  const spell = spellPayloads(ISSUER);
  expect(batch?.receipts.map((receipt) => spell(receipt, VERSION))).toEqual(
    stored.map((receipt) => spell(receipt, VERSION)),
  );
  const [ours, theirs] = [batch?.receipts ?? [], stored].map((receipts) =>
    hashBatch('a', receipts, { versions, issuer: ISSUER }),
  );
  expect(ours?.leafHashes).toEqual(theirs?.leafHashes);
}

describe('a batch that the process knows after the commit', () => {
  it('is the one that is stored, over mixed tools, free calls, refused ones and repeated batches', async () => {
    const tools = [newUuid(), newUuid(), newUuid()];
    const lane = newLane();
    const pick = (at: number): ReceiptDraft | null =>
      at % 7 === 3 ? null : createDraft({ toolId: tools[(at * at) % 3] ?? '' });
    for (let round = 0; round < 5; round++) {
      const calls = Array.from({ length: 40 }, (_, at) =>
        createCall(pick(at + round), at % 5 === 2 ? undefined : at % 11 === 4 ? 0n : 250n + BigInt(at)),
      );
      const [batch, ...more] = await writeBatch(calls, lane);
      expect(more).toEqual([]);
      expect(batch?.receipts.length).toBeGreaterThan(10);
      await expectAsStored(batch);
    }
  });

  it('is none where nothing was written', async () => {
    expect(await writeBatch([createCall(null), createCall(createDraft(), 0n)])).toEqual([]);
  });

  it('is left to its rows where a text was not stored as it was sent', async () => {
    expect(await writeBatch([createCall(createDraft({ toolName: 'half \ud83d' })), createCall()])).toEqual(
      [],
    );
  });

  it('is left to its rows where an answer is missing, or says something else', async () => {
    const draft = createDraft();
    const accepted = [{ item: draft, id: newUuid(), amount: 250n, fee: 50n }];
    const id = newUuid();
    const answer = (count: number, toolId = draft.toolId) => `${id} ${count} 1763702345 ${toolId}:9 lane`;
    expect(readWritten(answer(1), accepted)).toMatchObject({ id, receipts: [{ seq: 9n, lane: 'lane' }] });
    expect(readWritten(answer(2), accepted)).toBeUndefined();
    expect(readWritten(answer(1, newUuid()), accepted)).toBeUndefined();
    expect(readWritten('', accepted)).toBeUndefined();
  });

  it('is kept until it is taken, and not beyond what may be kept', async () => {
    const fresh = createFreshBatches({ issuer: ISSUER, describeVersion: async () => VERSION });
    const [batch] = await writeBatch(Array.from({ length: 500 }, () => createCall()));
    for (let at = 0; at < 500; at++) fresh.add(`${at}`, batch?.receipts ?? []);
    expect(await fresh.take()).toHaveLength(400);
    expect(await fresh.take()).toEqual([]);
    fresh.add('again', batch?.receipts ?? []);
    expect((await fresh.take()).map(({ id }) => id)).toEqual(['again']);
  });

  it('whose version cannot be described is left to its rows', async () => {
    const known = createDraft();
    const fresh = createFreshBatches({
      issuer: ISSUER,
      describeVersion: async (id) => {
        if (id !== known.versionId) throw new Error('not in the catalog');
        return VERSION;
      },
    });
    const [first] = await writeBatch([createCall(known)]);
    const [second] = await writeBatch([createCall()]);
    for (const batch of [second, first]) fresh.add(batch?.id ?? '', batch?.receipts ?? []);
    expect((await fresh.take()).map(({ id }) => id)).toEqual([first?.id]);
  });
});
