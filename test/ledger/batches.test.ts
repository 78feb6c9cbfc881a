import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { createBatcher } from '../../src/ledger/charge/batcher.ts';
import { unpackAnswers } from '../../src/ledger/charge/store.ts';
import { acceptAll } from '../../src/ledger/charge/whole/whole.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { waitUntil } from '../harness/process.ts';
import { holdRequest, newCharger, openFunded, receiptDraft } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

/** A turn for what ended to make room, and one for what takes it. */
async function settleDown(): Promise<void> {
  await nextTurn();
  await nextTurn();
}

/** A batcher whose batches end when they are told to. */
function createHeldBatcher() {
  const batches: { items: readonly number[]; end(): void }[] = [];
  const batcher = createBatcher<number, number>({
    ...{ batchMax: 1_000, queueMax: 5_000 },
    flush: (items) =>
      new Promise((resolve) => {
        batches.push({ items, end: () => resolve(items.map((item) => -item)) });
      }),
  });
  return { batcher, batches };
}

test('many that wait are cut in two batches, a third waits for one of them, and each gets its own answer', async () => {
  const { batcher, batches } = createHeldBatcher();
  const answers = Array.from({ length: 512 }, (_, item) => batcher.push(item));
  await settleDown();
  expect(batches.map(({ items }) => items.length)).toEqual([256, 256]);
  answers.push(...Array.from({ length: 512 }, (_, item) => batcher.push(512 + item)));
  await settleDown();
  expect(batches).toHaveLength(2);
  batches[1]?.end();
  await answers[256];
  await settleDown();
  expect(batches.map(({ items }) => items.length)).toEqual([256, 256, 512]);
  let isDrained = false;
  const drained = batcher.drain().then(() => {
    isDrained = true;
  });
  batches[0]?.end();
  await answers[0];
  await settleDown();
  expect(isDrained).toBe(false);
  batches[2]?.end();
  await drained;
  expect(await Promise.all(answers)).toEqual(answers.map((_, item) => -item));
});

test('few that wait are not cut, and join the next batch while one is on its way', async () => {
  const { batcher, batches } = createHeldBatcher();
  const first = batcher.push(0);
  await settleDown();
  const rest = Array.from({ length: 100 }, (_, item) => batcher.push(1 + item));
  await settleDown();
  expect(batches).toHaveLength(1);
  batches[0]?.end();
  await first;
  // Whoever was answered does not come back, and is not waited for in vain.
  await waitUntil(() => batches.length === 2 || undefined);
  expect(batches.map(({ items }) => items.length)).toEqual([1, 100]);
  batches[1]?.end();
  await Promise.all(rest);
  await batcher.drain();
});

test('those who come back at once meet those who waited, in one batch that is not held any longer', async () => {
  const { batcher, batches } = createHeldBatcher();
  const first = Array.from({ length: 30 }, (_, item) => batcher.push(item));
  await settleDown();
  const second = Array.from({ length: 30 }, (_, item) => batcher.push(30 + item));
  await settleDown();
  batches[0]?.end();
  await Promise.all(first);
  const third = first.map((_, item) => batcher.push(60 + item));
  await settleDown();
  expect(batches.map(({ items }) => items.length)).toEqual([30, 60]);
  batches[1]?.end();
  expect(await Promise.all([...second, ...third])).toEqual(
    [...second, ...third].map((_, item) => -30 - item),
  );
  await batcher.drain();
});

test('callers that nobody comes back to are not held for again and again', async () => {
  const { batcher, batches } = createHeldBatcher();
  const pairs: Promise<number>[] = [];
  const push = (item: number) => pairs.push(batcher.push(item), batcher.push(item + 1));
  push(0);
  await settleDown();
  push(2);
  batches[0]?.end();
  // Held for the first two, who do not come.
  await waitUntil(() => batches.length === 2 || undefined);
  for (const turn of [1, 2, 3, 4]) {
    push(2 * turn + 2);
    batches[turn]?.end();
    await pairs[2 * turn];
    await settleDown();
    expect(batches).toHaveLength(turn + 2);
  }
  batches[5]?.end();
  expect(await Promise.all(pairs)).toEqual(pairs.map((_, item) => -item));
  await batcher.drain();
});

test('a caller alone is held for nobody', async () => {
  const { batcher, batches } = createHeldBatcher();
  for (const item of [0, 1, 2]) {
    const answer = batcher.push(item);
    await settleDown();
    expect(batches).toHaveLength(item + 1);
    batches[item]?.end();
    expect(await answer).toBe(-item);
  }
});

test('a batch that fails leaves nobody waiting behind it', async () => {
  let failures = 0;
  const batcher = createBatcher<number, number>({
    ...{ batchMax: 1_000, queueMax: 5_000 },
    async flush(items) {
      await nextTurn();
      failures += 1;
      if (failures === 1) throw new Error('the first one fails');
      return items.map((item) => -item);
    },
  });
  const failing = [batcher.push(1), batcher.push(2)].map((answer) => answer.catch(() => 'failed'));
  await settleDown();
  const behind = [batcher.push(3), batcher.push(4)];
  expect(await Promise.all(failing)).toEqual(['failed', 'failed']);
  expect(await Promise.all(behind)).toEqual([-3, -4]);
  await batcher.drain();
});

test('a batch of more sales than are compared leaves every hold, entry and receipt with its own', async () => {
  const accountId = await openFunded(database.sql, 100_000);
  const charger = newCharger(database.sql);
  const sales = Array.from({ length: 30 }, (_, at) => ({
    ...{ payeeId: newUuid(), subject: newUuid(), label: `sale "${at}", {\\}`, lifetimeMs: 1_000 * (at + 1) },
  }));
  const calls = Array.from({ length: 120 }, (_, at) => {
    const sale = sales[(at * 7) % sales.length] ?? { payeeId: newUuid() };
    const request = { ...holdRequest(accountId, 50), ...sale };
    const draft = {
      ...receiptDraft(request.id),
      versionId: request.subject ?? newUuid(),
      toolName: request.label,
    };
    return { request, draft };
  });
  await Promise.all(calls.map(({ request, draft }) => charger.charge(request, draft)));
  const rows = await database.sql<{ id: string; payeeId: string; subject: string; label: string }[]>`
    SELECT h.id, e.credit_id AS payee_id, r.version_id AS subject, r.tool_name AS label FROM ledger_hold h
    JOIN ledger_entry e ON e.transfer_id = h.id AND e.kind = 'share'
    JOIN receipt r ON r.id = h.id AND r.tool_name = h.label AND r.version_id = h.subject
    WHERE h.account_id = ${accountId} AND h.payee_id = e.credit_id`;
  const byId = new Map(rows.map((row) => [row.id, row]));
  expect(rows).toHaveLength(calls.length);
  for (const { request } of calls) {
    const { id, payeeId, subject, label } = request;
    expect(byId.get(id)).toEqual({ id, payeeId, subject, label });
  }
});

test('packed answers say what a row for each would, and a lost one says nothing', () => {
  const answer = { isAccepted: false, existing: null, isKeyRefused: false, rest: null };
  expect(unpackAnswers('2a7,1n-30,3k,4c,5e')).toEqual([
    { ...answer, ord: 2, isAccepted: true, rest: 7n },
    { ...answer, ord: 1, rest: -30n },
    { ...answer, ord: 3, isKeyRefused: true },
    { ...answer, ord: 4, existing: 'captured' },
    { ...answer, ord: 5, existing: 'expired' },
  ]);
  expect(unpackAnswers(null)).toEqual([]);
  expect(() => unpackAnswers('1z')).toThrow();
});

test('where all are accepted only what each account had is told, and what each charge left is worked out', () => {
  const [first, second] = ['0f000000-0000-7000-8000-000000000000', 'a0000000-0000-7000-8000-000000000000'];
  const rows = [
    { accountId: second, amount: 5n },
    { accountId: first, amount: 1n },
    { accountId: second, amount: 7n },
  ];
  expect(acceptAll('=10,100', rows)).toEqual([
    { kind: 'held', rest: 95n },
    { kind: 'held', rest: 9n },
    { kind: 'held', rest: 88n },
  ]);
  // It is not known whose it is: nobody is told another one's balance.
  expect(() => acceptAll('=10', rows)).toThrow('2 accounts');
});

test('a result that is missing fails its own item, and leaves nobody waiting', async () => {
  const batcher = createBatcher<number, number>({
    ...{ batchMax: 1_000, queueMax: 5_000 },
    flush: async (items) => items.slice(1).map((item) => -item),
    isFinal: (found): found is number => found < 0,
  });
  const answers = await Promise.allSettled([batcher.push(1), batcher.push(2)]);
  expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  const later = Promise.allSettled([batcher.push(3), batcher.push(4)]);
  expect((await later).map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  await batcher.drain();
});

test('an item whose result is not final joins the batches behind it until one is', async () => {
  const tries = new Map<number, number>();
  const batcher = createBatcher<number, number>({
    ...{ batchMax: 1_000, queueMax: 5_000 },
    async flush(items) {
      await nextTurn();
      return items.map((item) => {
        tries.set(item, (tries.get(item) ?? 0) + 1);
        return tries.get(item) === item ? -item : 0;
      });
    },
    isFinal: (found): found is number => found < 0,
  });
  expect(await Promise.all([1, 2, 3, 4].map((item) => batcher.push(item)))).toEqual([-1, -2, -3, -4]);
  expect([...tries.values()]).toEqual([1, 2, 3, 4]);
  await batcher.drain();
});

test('an account that is not spelled as the database spells it is charged nothing', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const charger = newCharger(database.sql);
  // Of digits alone it would be the same in either case.
  const request = { ...holdRequest(accountId, 50), accountId: `A${accountId.slice(1)}` };
  await expect(charger.charge(request, receiptDraft(request.id))).rejects.toThrow('lower case');
});
