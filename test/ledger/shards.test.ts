import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bucketOf, newUuid, type Uuid } from '../../src/core/ids.ts';
import { millicents } from '../../src/core/money.ts';
import { type Sql, withTransaction } from '../../src/db/index.ts';
import { keyGuard } from '../../src/keys/index.ts';
import { checkLedger, createCharger, createLedger } from '../../src/ledger/index.ts';
import { createReceiptRider, newLane } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, openFunded, receiptDraft, type TestCharger, TOOL } from './fixtures.ts';

let database: TestDatabase;
let charger: TestCharger;
/** The parameters of every statement that was sent to charge. */
const sent: { text: string; parameters: unknown[] }[] = [];
const lane = newLane();

beforeAll(async () => {
  database = await createTestDatabase();
  const rider = createReceiptRider({ lane });
  charger = createCharger({ sql: recording(database.sql), parts: { guard: keyGuard, rider, isCut: true } });
});
afterAll(() => database.close());

/** The same connections, with what the charger sends over them noted. */
function recording(sql: Sql): Sql {
  return new Proxy(sql, {
    get(target, name, receiver) {
      if (name !== 'unsafe') return Reflect.get(target, name, receiver);
      return (text: string, parameters: unknown[], options: { prepare: boolean }) => {
        sent.push({ text, parameters });
        return target.unsafe(text, parameters as never[], options);
      };
    },
  });
}

const accountsOf = (parameters: unknown[]): Uuid[] => String(parameters[0]).slice(1, -1).split(',');

async function openCap(accountId: Uuid): Promise<Uuid> {
  const id = newUuid();
  await withTransaction(database.sql, (tx) =>
    createLedger({ sql: database.sql }).openCap(tx, { id, accountId }, { total: millicents(1_000_000) }),
  );
  return id;
}

describe('charges cut by shard', () => {
  test('send statements of one bucket each, and leave every row of a call in the bucket of its payer', async () => {
    const accounts = await Promise.all(Array.from({ length: 12 }, () => openFunded(database.sql, 100_000)));
    const caps = new Map(await Promise.all(accounts.map(async (id) => [id, await openCap(id)] as const)));
    const requests = Array.from({ length: 240 }, (_, index) => {
      const accountId = accounts[index % accounts.length] ?? '';
      const capIds = index % 3 === 0 ? [caps.get(accountId) ?? ''] : undefined;
      return { ...holdRequest(accountId, 250), capIds };
    });
    const results = await Promise.all(
      requests.map(async (request, index) => {
        if (index % 2 === 0) return charger.charge(request, receiptDraft(request.id));
        expect((await charger.hold(request)).kind).toBe('held');
        return index % 5 === 0
          ? charger.release(request)
          : charger.capture(request, receiptDraft(request.id));
      }),
    );
    for (const { kind } of results) expect(['held', 'closed']).toContain(kind);

    expect(sent.length).toBeGreaterThan(accounts.length);
    for (const { parameters } of sent) {
      expect(new Set(accountsOf(parameters).map(bucketOf)).size).toBe(1);
    }
    expect(sent.some(({ parameters }) => accountsOf(parameters).length > 1)).toBe(true);

    const strays = await database.sql`
      SELECT h.id FROM ledger_hold h JOIN ledger_payer p ON p.id = h.account_id
      LEFT JOIN ledger_entry e ON e.transfer_id = h.id LEFT JOIN receipt r ON r.id = h.id
      LEFT JOIN ledger_cap c ON c.id = ANY(h.cap_ids)
      WHERE h.bucket <> p.bucket OR e.bucket <> p.bucket OR r.bucket <> p.bucket OR c.bucket <> p.bucket
        OR (h.state = 'captured') <> (r.id IS NOT NULL)`;
    expect(strays).toHaveLength(0);
    const report = await checkLedger(database.sql);
    expect(report.discrepancies).toEqual([]);
    expect(report.isBalanced).toBe(true);
  });

  test('count their receipts without a gap on a lane of each shard', async () => {
    const rows = await database.sql<{ lane: string; bucket: number; seqs: string[] }[]>`
      SELECT lane, bucket, array_agg(seq::text ORDER BY seq) AS seqs FROM receipt
      WHERE tool_id = ${TOOL} GROUP BY lane, bucket`;
    expect(rows.length).toBeGreaterThan(1);
    expect(new Set(rows.map((row) => row.lane)).size).toBe(rows.length);
    for (const row of rows) {
      expect(row.lane).toBe(`${lane}.${row.bucket}`);
      expect(row.seqs).toEqual(row.seqs.map((_, at) => String(at + 1)));
    }
    const strays = await database.sql`
      SELECT 1 FROM receipt_lane WHERE lane <> ${lane} || '.' || bucket
      UNION ALL SELECT 1 FROM receipt_batch WHERE bucket <> ALL (receipt_buckets)`;
    expect(strays).toHaveLength(0);
  });

  test('look at no row of another bucket: every table a statement asks is asked by bucket', () => {
    for (const text of new Set(sent.map((statement) => statement.text))) {
      const scans =
        text.match(/(?:FROM|UPDATE) (?:ledger_payer|ledger_hold|ledger_cap)\b(?! SET)[^()]*WHERE/g) ?? [];
      expect(scans.length).toBeGreaterThan(1);
      expect((text.match(/bucket = \(\$\d+::smallint\[\]\)\[1\]/g) ?? []).length).toBeGreaterThanOrEqual(
        scans.length,
      );
    }
  });
});
