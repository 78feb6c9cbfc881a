import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { millicents } from '../../src/core/money.ts';
import { openDatabase, withTransaction } from '../../src/db/index.ts';
import { checkLedger, createLedger, type HoldRequest, type HoldResult } from '../../src/ledger/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, newCharger, openFunded, receiptDraft, type TestCharger } from './fixtures.ts';

let database: TestDatabase;
let other: ReturnType<typeof openDatabase>;
let gateways: [TestCharger, TestCharger];
beforeAll(async () => {
  database = await createTestDatabase();
  other = openDatabase({ url: database.url, poolMax: 4, applicationName: 'other' });
  gateways = [newCharger(database.sql), newCharger(other.sql)];
});
afterAll(async () => {
  const report = await checkLedger(database.sql);
  await other.close();
  await database.close();
  expect(report.discrepancies).toEqual([]);
});

const ledger = () => createLedger({ sql: database.sql });

async function openCap(caps: { perCall?: number; perHour?: number; total?: number }): Promise<Uuid> {
  const id = newUuid();
  const amounts = Object.fromEntries(Object.entries(caps).map(([name, value]) => [name, millicents(value)]));
  await withTransaction(database.sql, (tx) => ledger().openCap(tx, { id, accountId: newUuid() }, amounts));
  return id;
}

const useOf = async (capId: Uuid) => (await ledger().caps([capId]))[0];

function request(accountId: Uuid, amount: number, capIds: Uuid[]): HoldRequest {
  return { ...holdRequest(accountId, amount), capIds };
}

const charge = (call: HoldRequest, gateway = gateways[0]) => gateway.charge(call, receiptDraft(call.id));
const holdSlowly = (call: HoldRequest): Promise<HoldResult> =>
  withTransaction(database.sql, (tx) => ledger().holdBalance(tx, call));

/** As many calls at once as there are amounts, over both gateways in turn. */
function crowd(accountId: Uuid, amounts: number[], capIds: Uuid[]): Promise<HoldResult[]> {
  return Promise.all(
    amounts.map((amount, index) =>
      charge(request(accountId, amount, capIds), gateways[index % 2 === 0 ? 0 : 1]),
    ),
  );
}

const countOf = (results: HoldResult[], kind: HoldResult['kind']) =>
  results.filter((result) => result.kind === kind).length;

/** An hour passes for whoever spent under these caps. */
async function passHour(): Promise<void> {
  await database.sql`UPDATE ledger_cap SET hour_start = hour_start - interval '1 hour'`;
  await database.sql`UPDATE ledger_hold SET cap_hour = cap_hour - interval '1 hour' WHERE cap_hour IS NOT NULL`;
}

describe('calls at once over two gateways', () => {
  test('a cap per call lets exactly the calls at or below it pass', async () => {
    const accountId = await openFunded(database.sql, 10_000);
    const capId = await openCap({ perCall: 50 });
    const results = await crowd(
      accountId,
      Array.from({ length: 20 }, (_, index) => 41 + index),
      [capId],
    );
    expect(results.map(({ kind }) => kind)).toEqual([
      ...Array(10).fill('held'),
      ...Array(10).fill('cap-refused'),
    ]);
    const refusal = { capId, cap: 'per_call', limit: 50n, left: 50n, resetsAt: undefined };
    expect(results[19]).toEqual({ kind: 'cap-refused', refusal });
  });

  test.each(['perHour', 'total'] as const)(
    'a cap %s is used up to the millicent and not beyond',
    async (name) => {
      const accountId = await openFunded(database.sql, 100_000);
      const capId = await openCap({ [name]: 1_007 });
      const results = await crowd(accountId, Array(40).fill(53), [capId]);
      expect(countOf(results, 'held')).toBe(19);
      expect(countOf(results, 'cap-refused')).toBe(21);
      expect(await useOf(capId)).toMatchObject({ spent: 1_007n, hourSpent: 1_007n, held: 0n });
      expect(await ledger().balance(accountId)).toMatchObject({ balance: 100_000n - 1_007n });
    },
  );

  test('siblings together stay under the cap above them, and each under its own', async () => {
    const accountId = await openFunded(database.sql, 100_000);
    const above = await openCap({ total: 1_000 });
    const children = [await openCap({ total: 700 }), await openCap({ perHour: 600 })];
    const results = await Promise.all(
      children.map((capId) => crowd(accountId, Array(20).fill(50), [above, capId])),
    );
    expect(countOf(results.flat(), 'held')).toBe(20);
    const [first, second] = [await useOf(children[0] ?? ''), await useOf(children[1] ?? '')];
    expect((first?.spent ?? 0n) + (second?.spent ?? 0n)).toBe(1_000n);
    expect(first?.spent).toBeLessThanOrEqual(700n);
    expect(second?.spent).toBeLessThanOrEqual(600n);
  });

  test('holds, charges and slow holds share one cap', async () => {
    const accountId = await openFunded(database.sql, 100_000);
    const capId = await openCap({ total: 1_000, perHour: 1_000 });
    const results = await Promise.all(
      Array.from({ length: 30 }, (_, index) => {
        const call = request(accountId, 100, [capId]);
        if (index % 3 === 0) return holdSlowly(call);
        return index % 3 === 1 ? charge(call, gateways[0]) : gateways[1].hold(call);
      }),
    );
    expect(countOf(results, 'held')).toBe(10);
    const use = await useOf(capId);
    expect((use?.spent ?? 0n) + (use?.held ?? 0n)).toBe(1_000n);
  });

  test('the balance binds where it is less than the caps', async () => {
    const accountId = await openFunded(database.sql, 500);
    const capId = await openCap({ total: 1_000 });
    const results = await crowd(accountId, Array(20).fill(100), [capId]);
    expect(countOf(results, 'held')).toBe(5);
    expect(countOf(results, 'insufficient')).toBe(15);
  });

  test('the same capped charge sent 20 times counts once', async () => {
    const accountId = await openFunded(database.sql, 1_000);
    const capId = await openCap({ total: 1_000 });
    const call = request(accountId, 100, [capId]);
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) => charge(call, gateways[index % 2 === 0 ? 0 : 1])),
    );
    expect(countOf(results, 'held')).toBe(20);
    expect(await useOf(capId)).toMatchObject({ spent: 100n, hourSpent: 100n });
  });

  test('calls with and without caps on one account neither block each other nor overdraw it', async () => {
    const accountId = await openFunded(database.sql, 2_000);
    const capId = await openCap({ total: 1_000 });
    const [capped, free] = await Promise.all([
      crowd(accountId, Array(20).fill(100), [capId]),
      crowd(accountId, Array(20).fill(100), []),
    ]);
    expect(countOf(capped, 'held')).toBeLessThanOrEqual(10);
    expect(countOf([...capped, ...free], 'held')).toBe(20);
    expect(await ledger().balance(accountId)).toMatchObject({ balance: 0n });
  });
});

describe('what does not fit', () => {
  test('does not push out smaller calls of its batch', async () => {
    const accountId = await openFunded(database.sql, 10_000);
    const capId = await openCap({ total: 500 });
    const results = await Promise.all(
      [400, 300, 50, 50, 60, 600].map((amount) => charge(request(accountId, amount, [capId]))),
    );
    expect(results.map(({ kind }) => kind)).toEqual([
      ...['held', 'cap-refused', 'held', 'held', 'cap-refused', 'cap-refused'],
    ]);
  });

  test('is refused by the cap before it is refused for want of money', async () => {
    const accountId = await openFunded(database.sql, 10);
    const capId = await openCap({ perHour: 20 });
    const call = request(accountId, 100, [capId]);
    const refused = { kind: 'cap-refused', refusal: { cap: 'per_hour', limit: 20n, left: 20n } };
    expect(await charge(call)).toMatchObject(refused);
    expect(await holdSlowly(call)).toMatchObject(refused);
  });

  test('says when its hour is over', async () => {
    const accountId = await openFunded(database.sql, 1_000);
    const capId = await openCap({ perHour: 100 });
    await charge(request(accountId, 70, [capId]));
    const refusal = await charge(request(accountId, 31, [capId]));
    const slow = await holdSlowly(request(accountId, 31, [capId]));
    expect(slow).toEqual(refusal);
    expect(refusal).toMatchObject({ kind: 'cap-refused', refusal: { cap: 'per_hour', left: 30n } });
    const resetsAt = refusal.kind === 'cap-refused' ? refusal.refusal.resetsAt?.getTime() : undefined;
    expect((resetsAt ?? 1) % 3_600_000).toBe(0);
    expect(Math.abs((resetsAt ?? 0) - Date.now() - 1_800_000)).toBeLessThanOrEqual(1_801_000);
  });
});

describe.each(['fast', 'slow'] as const)('closing a hold, the %s way', (way) => {
  const hold = (call: HoldRequest) => (way === 'fast' ? gateways[0].hold(call) : holdSlowly(call));
  const release = (call: HoldRequest) =>
    way === 'fast'
      ? gateways[1].release(call)
      : withTransaction(database.sql, (tx) => ledger().release(tx, call.id));
  const capture = (call: HoldRequest) =>
    way === 'fast'
      ? gateways[1].capture(call, receiptDraft(call.id))
      : withTransaction(database.sql, (tx) => ledger().capture(tx, call.id, 0));

  test('gives back within the hour what was not delivered, twenty at once', async () => {
    const accountId = await openFunded(database.sql, 10_000);
    const capId = await openCap({ perHour: 2_000, total: 2_000 });
    const calls = Array.from({ length: 20 }, () => request(accountId, 100, [capId]));
    expect(countOf(await Promise.all(calls.map(hold)), 'held')).toBe(20);
    expect(await useOf(capId)).toMatchObject({ held: 2_000n, spent: 0n, hourSpent: 2_000n });
    expect((await charge(request(accountId, 1, [capId]))).kind).toBe('cap-refused');
    await Promise.all(calls.map((call, index) => (index % 2 === 0 ? release(call) : capture(call))));
    expect(await useOf(capId)).toMatchObject({ held: 0n, spent: 1_000n, hourSpent: 1_000n });
    await Promise.all(calls.map(release));
    expect(await useOf(capId)).toMatchObject({ held: 0n, spent: 1_000n, hourSpent: 1_000n });
  });

  test('gives nothing back to an hour that the call did not come from', async () => {
    const accountId = await openFunded(database.sql, 10_000);
    const capId = await openCap({ perHour: 300 });
    const [early, late] = [request(accountId, 200, [capId]), request(accountId, 250, [capId])];
    await hold(early);
    await passHour();
    expect((await hold(late)).kind).toBe('held');
    expect(await useOf(capId)).toMatchObject({ held: 450n, hourSpent: 250n });
    await release(early);
    expect(await useOf(capId)).toMatchObject({ held: 250n, hourSpent: 250n });
    expect((await hold(request(accountId, 51, [capId]))).kind).toBe('cap-refused');
    await release(late);
    expect(await useOf(capId)).toMatchObject({ held: 0n, hourSpent: 0n });
  });
});

test('a hold that expires is given back to its caps', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const capId = await openCap({ total: 100 });
  const call = { ...request(accountId, 100, [capId]), lifetimeMs: -1 };
  await gateways[0].hold(call);
  await ledger().expireDue();
  expect(await useOf(capId)).toMatchObject({ held: 0n, spent: 0n, hourSpent: 0n });
});

test('what a call spends counts in the hour that has begun, also when it waited for that from the hour before', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const capId = await openCap({ perHour: 100 });
  // Somebody with a later clock has opened the next hour already.
  await database.sql`UPDATE ledger_cap SET hour_start = hour_start + interval '1 hour' WHERE id = ${capId}`;
  const call = request(accountId, 60, [capId]);
  await gateways[0].hold(call);
  expect(await useOf(capId)).toMatchObject({ hourSpent: 60n });
  expect((await holdSlowly(request(accountId, 41, [capId]))).kind).toBe('cap-refused');
  await gateways[1].release(call);
  expect(await useOf(capId)).toMatchObject({ hourSpent: 0n, held: 0n });
});

test('a key whose cap is gone may not spend, and does not disturb others', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const capId = await openCap({ total: 500 });
  const results = await Promise.all(
    [[capId, newUuid()], [capId], [newUuid()]].map((capIds) => charge(request(accountId, 100, capIds))),
  );
  expect(results.map(({ kind }) => kind)).toEqual(['key-refused', 'held', 'key-refused']);
  expect(await useOf(capId)).toMatchObject({ spent: 100n });
});

test('the check names a cap whose counters the holds do not prove', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const capId = await openCap({ total: 500 });
  await charge(request(accountId, 100, [capId]));
  await database.sql`UPDATE ledger_cap SET spent = spent + 1 WHERE id = ${capId}`;
  expect((await checkLedger(database.sql)).discrepancies).toMatchObject([{ rule: 'cap', subject: capId }]);
  await database.sql`UPDATE ledger_cap SET spent = spent - 1 WHERE id = ${capId}`;
});
