import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { type Sql, withTransaction } from '../../src/db/index.ts';
import { createKeys, keyGuard, newKeyText } from '../../src/keys/index.ts';
import { checkLedger, createCharger, createLedger, type HoldRequest } from '../../src/ledger/index.ts';
import { createReceiptRider, newLane, type ReceiptDraft } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, openFunded, receiptDraft } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());
afterEach(async () => {
  expect(await checkLedger(database.sql)).toMatchObject({ discrepancies: [], isBalanced: true });
});

/** Which form each statement had that a charger sent, and whether it did anything. */
type Form = 'whole' | 'nothing' | 'single' | 'batch' | 'careful';
type Written = {
  batchId: Uuid;
  receipts: { id: Uuid; toolId: Uuid; seq: bigint }[];
};

function formOf(text: string): Form {
  if (text.includes('o AS MATERIALIZED')) return 'whole';
  if (text.includes('AS copy')) return 'careful';
  return text.includes('OVER w') ? 'batch' : 'single';
}

/** A charger on a lane of its own, the statements it sends, and what it is told of the receipts it wrote. */
function createWatched() {
  const forms: Form[] = [];
  const written: Written[] = [];
  const lane = newLane();
  const unsafe = (...sent: Parameters<Sql['unsafe']>) => {
    const answer = database.sql.unsafe(...sent);
    const at = forms.push(formOf(sent[0])) - 1;
    const noted = answer.then((rows) => {
      if (forms[at] === 'whole' && rows[0]?.answers === null) forms[at] = 'nothing';
      return rows;
    });
    return noted as unknown as typeof answer;
  };
  const get = (target: Sql, name: string | symbol) =>
    name === 'unsafe' ? unsafe : Reflect.get(target, name, target);
  const rider = createReceiptRider({
    lane,
    fresh: {
      add: (batchId, receipts) => {
        const told = receipts.map(({ id, draft: { toolId }, seq }) => ({ id, toolId, seq }));
        written.push({ batchId, receipts: told });
      },
    },
  });
  const parts = { guard: keyGuard, rider };
  return { charger: createCharger({ sql: new Proxy(database.sql, { get }), parts }), forms, written, lane };
}

const drafted = (request: HoldRequest, toolId?: Uuid): ReceiptDraft => ({
  ...receiptDraft(request.id),
  ...(toolId && { toolId }),
});

const restOf = async (accountId: Uuid) => {
  const { balance, held } = (await createLedger({ sql: database.sql }).balance(accountId)) ?? {};
  return balance === undefined || held === undefined ? undefined : balance - held;
};

async function openKey(accountId: Uuid): Promise<Uuid> {
  const keys = createKeys({ sql: database.sql, clock: systemClock });
  const { id } = await withTransaction(database.sql, (tx) =>
    keys.issue(tx, { keyText: newKeyText(), accountId, scopes: ['all'] }),
  );
  return id;
}

test('a batch of many accounts and tools is done as a whole, and its numbers, leaves and balances are those of its order', async () => {
  const accounts = await Promise.all([500, 500, 70].map((amount) => openFunded(database.sql, amount)));
  const tools = [newUuid(), newUuid(), newUuid()];
  const { charger, forms, written, lane } = createWatched();
  for (let round = 0; round < 2; round++) {
    const calls = Array.from({ length: 23 }, (_, index) => {
      const accountId = accounts[index % 7 === 0 ? 2 : index % 2] ?? newUuid();
      return { request: holdRequest(accountId, 1 + (index % 5)), toolId: tools[((index * 7) % 11) % 3] };
    });
    const before = new Map(
      await Promise.all(accounts.map(async (id) => [id, (await restOf(id)) ?? 0n] as const)),
    );
    const results = await Promise.all(
      calls.map(({ request, toolId }) => charger.charge(request, drafted(request, toolId))),
    );
    const rests = calls.map(({ request: { accountId, amount } }) => {
      const rest = (before.get(accountId) ?? 0n) - amount;
      before.set(accountId, rest);
      return { kind: 'held', rest };
    });
    expect(results).toEqual(rests);
    for (const id of accounts) expect(await restOf(id)).toBe(before.get(id));
    const batch = written[round];
    const rows = await database.sql<{ id: Uuid; toolId: Uuid; seq: bigint; bucket: number }[]>`
      SELECT r.id, r.tool_id, r.seq, r.bucket FROM receipt_batch b
      CROSS JOIN unnest(b.receipt_ids, b.receipt_buckets) WITH ORDINALITY AS t(id, bucket, ord)
      JOIN receipt r ON r.id = t.id AND r.bucket = t.bucket
      WHERE b.id = ${batch?.batchId ?? null} AND b.leaf_count = 23 ORDER BY t.ord`;
    expect(rows.map(({ id }) => id)).toEqual(calls.map(({ request }) => request.id));
    expect(batch?.receipts).toMatchObject(rows.map(({ id, toolId, seq }) => ({ id, toolId, seq })));
  }
  for (const toolId of tools) {
    const rows = await database.sql<{ seq: bigint }[]>`
      SELECT r.seq FROM receipt r JOIN receipt_batch b ON b.id = r.batch_id
      WHERE r.tool_id = ${toolId} AND r.lane = ${lane} ORDER BY b.opened_at, array_position(b.receipt_ids, r.id)`;
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.map(({ seq }) => seq)).toEqual(rows.map((_, index) => BigInt(index + 1)));
  }
  expect(forms).toEqual(['whole', 'whole']);
});

type Spoiler = { request: HoldRequest; result: unknown };
const SPOILERS: Record<string, () => Promise<Spoiler>> = {
  'an account that is short': async () => ({
    request: holdRequest(await openFunded(database.sql, 5), 6),
    result: { kind: 'insufficient', available: 5n },
  }),
  'an account that is not there': async () => ({
    request: holdRequest(newUuid(), 6),
    result: { kind: 'insufficient', available: 0n },
  }),
  'a key that was revoked': async () => {
    const accountId = await openFunded(database.sql, 100);
    const keyId = await openKey(accountId);
    await createKeys({ sql: database.sql, clock: systemClock }).revoke({ accountId, keyId });
    return { request: { ...holdRequest(accountId, 6), keyId }, result: { kind: 'key-refused' } };
  },
  'a charge that was taken before': async () => {
    const request = holdRequest(await openFunded(database.sql, 100), 6);
    await createWatched().charger.charge(request, drafted(request));
    return { request, result: { kind: 'held' } };
  },
};

test.each(Object.entries(SPOILERS))(
  'with %s among them the others are charged once, and nothing was done before',
  async (_, spoil) => {
    const accountId = await openFunded(database.sql, 100);
    const keyId = await openKey(accountId);
    const { request, result } = await spoil();
    const first = { ...holdRequest(accountId, 10), keyId };
    const last = holdRequest(accountId, 20);
    const { charger, forms } = createWatched();
    const results = await Promise.all(
      [first, request, last].map((each) => charger.charge(each, drafted(each))),
    );
    expect(results).toEqual([{ kind: 'held', rest: 90n }, result, { kind: 'held', rest: 70n }]);
    expect(await restOf(accountId)).toBe(70n);
    expect(forms).toEqual(['nothing', 'batch']);
  },
);

test('what promotion covers in part is told apart, charge by charge', async () => {
  const accountId = await openFunded(database.sql, 100);
  const promotion = holdRequest(accountId, 15).amount;
  await withTransaction(database.sql, (tx) =>
    createLedger({ sql: database.sql }).promote(tx, { id: newUuid(), accountId, amount: promotion }),
  );
  const requests = [10, 10, 10].map((amount) => holdRequest(accountId, amount));
  const { charger, forms } = createWatched();
  await Promise.all(requests.map((request) => charger.charge(request, drafted(request))));
  expect(forms).toEqual(['nothing', 'batch']);
  const rows = await database.sql<{ isPromo: boolean }[]>`
    SELECT available_at = 'infinity' AS is_promo FROM ledger_entry
    WHERE transfer_id = ANY(${requests.map(({ id }) => id)}::uuid[]) AND kind = 'share' ORDER BY transfer_id`;
  expect(rows.map(({ isPromo }) => isPromo)).toEqual([true, true, false]);
});

test('a call without a receipt among them is charged like the others, which get theirs', async () => {
  const accountId = await openFunded(database.sql, 100);
  const requests = [10, 20, 30].map((amount) => holdRequest(accountId, amount));
  const rider = createReceiptRider({ lane: newLane() });
  const charger = createCharger<ReceiptDraft | null>({
    sql: database.sql,
    parts: { guard: keyGuard, rider },
  });
  const results = await Promise.all(
    requests.map((request, index) => charger.charge(request, index === 1 ? null : drafted(request))),
  );
  expect(results).toEqual([90n, 70n, 40n].map((rest) => ({ kind: 'held', rest })));
  const rows =
    await database.sql`SELECT id FROM receipt WHERE id = ANY(${requests.map(({ id }) => id)}::uuid[])`;
  expect(rows).toHaveLength(2);
});

test('after a batch that could not be done as a whole the next eight are not tried so', async () => {
  const [short, funded] = [await openFunded(database.sql, 1), await openFunded(database.sql, 1_000)];
  const { charger, forms } = createWatched();
  const holdBoth = (accountId: Uuid) =>
    Promise.all([charger.hold(holdRequest(accountId, 2)), charger.hold(holdRequest(funded, 2))]);
  await holdBoth(short);
  for (let round = 0; round < 9; round++) await holdBoth(funded);
  expect(forms).toEqual(['nothing', ...Array.from({ length: 9 }, () => 'batch'), 'whole']);
  expect(await restOf(funded)).toBe(1_000n - 19n * 2n);
});
