import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import {
  type IssuedReceipt,
  type LoggedReceipt,
  newReceiptKeyPem,
  type ReceiptPayload,
  type Receipts,
  type TransparencyLog,
  verifyLoggedReceipt,
} from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import {
  chargeBatch,
  createCall,
  createDraft,
  createReceiptsLog,
  createTestReceipts,
  RECEIPTS_ORIGIN,
} from './fixtures.ts';

type Logged = Omit<IssuedReceipt, 'log'> & { log: LoggedReceipt };

let database: TestDatabase;
let log: TransparencyLog;
let receipts: Receipts;
let all: Logged[];
const pem = newReceiptKeyPem();
const expected = () => ({ origin: RECEIPTS_ORIGIN, vkeys: log.vkeys });

beforeAll(async () => {
  database = await createTestDatabase();
  log = createReceiptsLog(database.sql, pem);
  receipts = createTestReceipts(database.sql, { receiptsLog: log });
  const toolId = newUuid();
  const calls = Array.from({ length: 9 }, (_, at) =>
    createCall(createDraft({ toolId, payer: `payer:${String(at).padStart(32, '0')}` }), BigInt(1_000 + at)),
  );
  await chargeBatch(database.sql, receipts.rider, calls);
  await receipts.sealOpenBatches();
  await receipts.logReceipts();
  expect((await receipts.getReceipt(calls[0]?.id ?? ''))?.log).toBeUndefined();
  await log.sign();
  all = await Promise.all(calls.map(({ id }) => getLogged(id)));
});
afterAll(() => database.close());

async function getLogged(id: string): Promise<Logged> {
  const receipt = await receipts.getReceipt(id);
  if (!receipt?.log) throw new Error(`receipt ${id} is not logged`);
  return { ...receipt, log: receipt.log };
}

describe('a receipt with its place in the log', () => {
  it('is proven by the key of the log alone', () => {
    for (const [at, { payload, log: place }] of all.entries()) {
      const verdict = verifyLoggedReceipt(payload, place, expected());
      expect(verdict).toEqual({ kind: 'valid', payload, index: at, treeSize: 9 });
    }
  });

  it('stays provable, by the same entry, while the log grows', async () => {
    const [first] = all;
    await chargeBatch(database.sql, receipts.rider, [createCall(), createCall()]);
    await receipts.sealOpenBatches();
    await receipts.logReceipts();
    await log.sign();
    const later = await getLogged(first?.payload.jti ?? '');
    expect(later.log).toMatchObject({ index: 0, entry: first?.log.entry, salt: first?.log.salt });
    expect(verifyLoggedReceipt(later.payload, later.log, expected())).toMatchObject({ treeSize: 11 });
    // What was handed out before holds as well.
    expect(verifyLoggedReceipt(first?.payload, first?.log, expected()).kind).toBe('valid');
  });

  it('is refused with any field of the receipt changed', () => {
    const [, { payload, log: place } = fail()] = all;
    const flipped: [string, unknown][] = Object.entries(payload).map(([field, value]) => [
      field,
      flip(value),
    ]);
    expect(flipped).toHaveLength(19);
    for (const [field, value] of [
      ...flipped,
      ['log', { ...payload.log, index: payload.log.index + 1 }] as const,
      ['log', { ...payload.log, origin: 'elsewhere' }] as const,
    ]) {
      const verdict = verifyLoggedReceipt({ ...payload, [field]: value }, place, expected());
      expect(verdict.kind, field).toBe('invalid');
    }
    const { res: _, ...without } = payload;
    expect(verifyLoggedReceipt(without, place, expected()).kind).toBe('invalid');
    expect(verifyLoggedReceipt({ ...payload, more: 1 }, place, expected()).kind).toBe('invalid');
  });

  it('is refused with any part of its place changed, and never by a throw', () => {
    const [a = fail(), b = fail()] = all;
    const { payload, log: place } = a;
    const wrong: unknown[] = [
      { ...place, index: place.index + 1 },
      { ...place, index: -1 },
      { ...place, origin: 'elsewhere' },
      { ...place, salt: b.log.salt },
      { ...place, salt: place.salt.toUpperCase() === place.salt ? 'zz' : place.salt.toUpperCase() },
      { ...place, entry: b.log.entry },
      { ...place, entry: `${place.entry}\n` },
      { ...place, entry: '' },
      { ...place, proof: b.log.proof },
      { ...place, proof: place.proof.replace('index 0', 'index 1') },
      { ...place, proof: '' },
      { ...place, proof: 'x'.repeat(3_000_000) },
      ...place.proof
        .split('\n')
        .map((_, at, lines) => ({ ...place, proof: lines.toSpliced(at, 1).join('\n') })),
      b.log,
      ...[null, undefined, 7, [], {}, 'text'],
    ];
    for (const one of wrong) {
      // Without its `extra` or another optional line a proof would still be one: ours has none.
      expect(verifyLoggedReceipt(payload, one, expected()).kind, JSON.stringify(one)).toBe('invalid');
    }
    for (const nonsense of [null, 7, 'x', [], {}]) {
      expect(verifyLoggedReceipt(nonsense, place, expected()).kind).toBe('invalid');
    }
    const stranger = createReceiptsLog(database.sql).vkeys;
    for (const vkeys of [stranger, [], ['nonsense'], ['']]) {
      expect(verifyLoggedReceipt(payload, place, { origin: RECEIPTS_ORIGIN, vkeys }).kind).toBe('invalid');
    }
  });

  it('reveals nothing of any other buyer', () => {
    for (const one of all) {
      const text = JSON.stringify(one);
      for (const other of all) {
        if (other === one) continue;
        const { jti, payer, price_mcents, payment_ref, req, res } = other.payload;
        const secrets = [jti, payer, `"${price_mcents}"`, payment_ref, req, res, other.log.salt];
        for (const secret of [...secrets, req.slice(7), res.slice(7)]) expect(text).not.toContain(secret);
      }
    }
  });

  it('cannot be guessed open without its salt: the same receipt twice gives two commitments', async () => {
    const salts = new Set(all.map((one) => one.log.salt));
    expect(salts.size).toBe(all.length);
    const commits = new Set(all.map((one) => one.log.entry.split('commit ')[1]));
    expect(commits.size).toBe(all.length);
  });
});

function flip(value: ReceiptPayload[keyof ReceiptPayload]): unknown {
  if (typeof value === 'number') return value + 1;
  if (typeof value === 'object') return { ...value, index: value.index + 1 };
  const last = value.at(-1) === '0' ? '1' : '0';
  return value.slice(0, -1) + last;
}

function fail(): never {
  throw new Error('missing');
}
