import { afterAll, beforeAll, expect, test } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { openDatabase, type Sql, withTransaction } from '../../src/db/index.ts';
import { createKeys, newKeyText } from '../../src/keys/index.ts';
import { judge } from '../../src/ledger/charge/charger.ts';
import { isIdTaken } from '../../src/ledger/charge/store.ts';
import { checkLedger, createLedger } from '../../src/ledger/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, newCharger, openFunded, PAYEE, receiptDraft, TOOL } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

async function expectBalanced(): Promise<void> {
  const report = await checkLedger(database.sql);
  expect(report.discrepancies).toEqual([]);
  expect(report.isBalanced).toBe(true);
}

const balanceOf = (accountId: string) => createLedger({ sql: database.sql }).balance(accountId);

test('64 calls at once on a balance for 10 make exactly 10', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const charger = newCharger(database.sql);
  const requests = Array.from({ length: 64 }, () => holdRequest(accountId, 100));
  const results = await Promise.all(
    requests.map((request) => charger.charge(request, receiptDraft(request.id))),
  );
  expect(results.filter(({ kind }) => kind === 'held')).toHaveLength(10);
  expect(results.filter(({ kind }) => kind === 'insufficient')).toHaveLength(54);
  expect(await balanceOf(accountId)).toMatchObject({ balance: 0n, held: 0n });
  await expectBalanced();
});

test('four gateways holding and capturing on one account never overdraw it', async () => {
  const accountId = await openFunded(database.sql, 5_000);
  const pools = Array.from({ length: 4 }, () =>
    openDatabase({ url: database.url, poolMax: 4, applicationName: 'gw' }),
  );
  const outcomes = await Promise.all(
    pools.flatMap(({ sql }) => {
      const charger = newCharger(sql);
      return Array.from({ length: 25 }, async (_, index) => {
        const request = holdRequest(accountId, 100);
        const hold = await charger.hold(request);
        if (hold.kind !== 'held') return 'refused';
        if (index % 5 === 0) return (await charger.release(request)).kind === 'closed' ? 'released' : 'lost';
        return (await charger.capture(request, receiptDraft(request.id))).kind === 'closed'
          ? 'captured'
          : 'lost';
      });
    }),
  );
  await Promise.all(pools.map((pool) => pool.close()));
  const captured = outcomes.filter((outcome) => outcome === 'captured').length;
  expect(outcomes).not.toContain('lost');
  expect(captured).toBeLessThanOrEqual(50);
  expect(await balanceOf(accountId)).toMatchObject({ balance: 5_000n - BigInt(captured) * 100n, held: 0n });
  await expectBalanced();
});

test('the same charge sent 20 times at once by two gateways is taken once', async () => {
  const accountId = await openFunded(database.sql, 10_000);
  const other = openDatabase({ url: database.url, poolMax: 4, applicationName: 'other' });
  const request = holdRequest(accountId, 100);
  const chargers = [newCharger(database.sql), newCharger(other.sql)];
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, index) => chargers[index % 2]?.charge(request, receiptDraft(request.id))),
  );
  await other.close();
  expect(results.every((result) => result?.kind === 'held')).toBe(true);
  expect(await balanceOf(accountId)).toMatchObject({ balance: 9_900n, held: 0n });
  const receipts = await database.sql`SELECT id FROM receipt WHERE id = ${request.id}`;
  expect(receipts).toHaveLength(1);
  await expectBalanced();
});

/** The same connections; counts the statements that failed because somebody took one of their ids meanwhile. */
function countTaken(sql: Sql): { sql: Sql; taken: () => number } {
  let taken = 0;
  const unsafe = (...args: Parameters<Sql['unsafe']>) =>
    sql.unsafe(...args).catch((cause: unknown) => {
      if (isIdTaken(cause)) taken += 1;
      throw cause;
    });
  return {
    sql: new Proxy(sql, { get: (target, name) => (name === 'unsafe' ? unsafe : Reflect.get(target, name)) }),
    taken: () => taken,
  };
}

test('batches of two gateways that share some of their charges take each once, and lose none of the others', async () => {
  const accountId = await openFunded(database.sql, 1_000_000);
  const other = openDatabase({ url: database.url, poolMax: 4, applicationName: 'other' });
  const counted = [countTaken(database.sql), countTaken(other.sql)];
  const chargers = counted.map(({ sql }) => newCharger(sql));
  let charged = 0n;
  const takenOf = () => counted.reduce((sum, { taken }) => sum + taken(), 0);
  for (let round = 0; round < 200 && takenOf() < 5; round++) {
    const shared = Array.from({ length: 3 }, () => holdRequest(accountId, 100));
    const results = await Promise.all(
      chargers.flatMap((charger) => {
        const own = Array.from({ length: 5 }, () => holdRequest(accountId, 100));
        return [...shared, ...own].map((request) => charger.charge(request, receiptDraft(request.id)));
      }),
    );
    expect(results.map(({ kind }) => kind)).toEqual(Array.from({ length: 16 }, () => 'held'));
    charged += 1_300n;
  }
  await other.close();
  expect(takenOf()).toBeGreaterThanOrEqual(5);
  expect(await balanceOf(accountId)).toMatchObject({ balance: 1_000_000n - charged, held: 0n });
  await expectBalanced();
});

test('a large charge that does not fit does not push out smaller ones behind it', async () => {
  const accountId = await openFunded(database.sql, 500);
  const charger = newCharger(database.sql);
  const amounts = [400, 300, 50, 50, 60];
  const results = await Promise.all(
    amounts.map((amount) => {
      const request = holdRequest(accountId, amount);
      return charger.charge(request, receiptDraft(request.id));
    }),
  );
  expect(results.map(({ kind }) => kind)).toEqual(['held', 'insufficient', 'held', 'held', 'insufficient']);
  await expectBalanced();
});

test('an unknown account is refused as having nothing', async () => {
  const request = holdRequest(newUuid(), 100);
  const result = await newCharger(database.sql).charge(request, receiptDraft(request.id));
  expect(result).toEqual({ kind: 'insufficient', available: 0n });
});

test('a revoked key is refused in the statement that charges, alone and in a batch', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const keys = createKeys({ sql: database.sql, clock: { now: () => new Date() } });
  const issue = () =>
    withTransaction(database.sql, (tx) =>
      keys.issue(tx, { keyText: newKeyText(), accountId, scopes: ['all'] }),
    );
  const [good, revoked] = [await issue(), await issue()];
  await keys.revoke({ accountId, keyId: revoked.id });
  const charger = newCharger(database.sql);
  const spend = (keyId: string) => {
    const request = { ...holdRequest(accountId, 100), keyId };
    return charger.charge(request, receiptDraft(request.id));
  };
  expect(await spend(revoked.id)).toEqual({ kind: 'key-refused' });
  const together = await Promise.all([spend(good.id), spend(revoked.id), spend(good.id)]);
  expect(together.map(({ kind }) => kind)).toEqual(['held', 'key-refused', 'held']);
  expect(await balanceOf(accountId)).toMatchObject({ balance: 800n });
});

test('receipts of a batch are numbered without a gap, in the commit that charges', async () => {
  const accountId = await openFunded(database.sql, 100_000);
  const charger = newCharger(database.sql);
  const charge = () => {
    const request = holdRequest(accountId, 3);
    return charger.charge(request, receiptDraft(request.id));
  };
  for (let round = 0; round < 5; round++) await Promise.all(Array.from({ length: 40 }, charge));
  const lanes = await database.sql<{ lane: string; count: bigint; max: bigint; sold: bigint }[]>`
    SELECT r.lane, count(*) AS count, max(r.seq) AS max, max(l.last_seq) AS sold
    FROM receipt r JOIN receipt_lane l ON l.lane = r.lane AND l.tool_id = r.tool_id
    WHERE r.tool_id = ${TOOL} GROUP BY r.lane`;
  for (const { count, max, sold } of lanes) {
    expect(max).toBe(count);
    expect(sold).toBe(count);
  }
  await expectBalanced();
});

test('capturing after release takes nothing, and releasing after capture gives nothing back', async () => {
  const accountId = await openFunded(database.sql, 1_000);
  const charger = newCharger(database.sql);
  const [first, second] = [holdRequest(accountId, 100), holdRequest(accountId, 100)];
  await Promise.all([charger.hold(first), charger.hold(second)]);
  expect(await balanceOf(accountId)).toMatchObject({ balance: 1_000n, held: 200n });
  await charger.release(first);
  expect(await charger.capture(first, receiptDraft(first.id))).toEqual({ kind: 'not-open' });
  await charger.capture(second, receiptDraft(second.id));
  expect(await charger.release(second)).toEqual({ kind: 'not-open' });
  expect(await balanceOf(accountId)).toMatchObject({ balance: 900n, held: 0n });
  await expectBalanced();
});

test('capture and expiry of the same hold, raced, end in one of the two', async () => {
  const ledger = createLedger({ sql: database.sql });
  const accountId = await openFunded(database.sql, 2_000);
  const charger = newCharger(database.sql);
  const requests = Array.from({ length: 20 }, () => ({ ...holdRequest(accountId, 100), lifetimeMs: -1 }));
  await Promise.all(requests.map((request) => charger.hold(request)));
  const [captures] = await Promise.all([
    Promise.all(requests.map((request) => charger.capture(request, receiptDraft(request.id)))),
    ledger.expireDue(),
  ]);
  const captured = BigInt(captures.filter(({ kind }) => kind === 'closed').length);
  expect(await balanceOf(accountId)).toMatchObject({ balance: 2_000n - captured * 100n, held: 0n });
  await expectBalanced();
});

test('what promotion paid is never withdrawable, and what money paid is', async () => {
  const ledger = createLedger({ sql: database.sql });
  const before = await ledger.earnings(PAYEE);
  const accountId = newUuid();
  await withTransaction(database.sql, async (tx) => {
    await ledger.openPayer(tx, accountId);
    await ledger.promote(tx, { id: newUuid(), accountId, amount: holdRequest(accountId, 250).amount });
  });
  const request = holdRequest(accountId, 250);
  await newCharger(database.sql).charge(request, receiptDraft(request.id));
  const after = await ledger.earnings(PAYEE);
  expect(after.earned - before.earned).toBe(250n - request.fee);
  expect(after.available).toBe(before.available);
});

test('an answer is matched by the request it names, also when the driver hands over a list with a hole', () => {
  const accountId = newUuid();
  const rows = [holdRequest(accountId, 1), holdRequest(accountId, 2)].map((row) => ({ ...row, bucket: 0 }));
  const accepted = { ord: 1, rest: 5n, isAccepted: true, existing: null, isKeyRefused: false };
  const shifted = [undefined, accepted] as unknown as (typeof accepted)[];
  expect(judge(rows, shifted)).toEqual([{ kind: 'held', rest: 5n }, { kind: 'ask-again' }]);
});
