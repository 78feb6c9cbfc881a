import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { newUuid } from '../../src/core/ids.ts';
import { millicents } from '../../src/core/money.ts';
import { openDatabase, type Sql, withTransaction } from '../../src/db/index.ts';
import { createKeys, newKeyText } from '../../src/keys/index.ts';
import { checkLedger, createLedger, type HoldRequest } from '../../src/ledger/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, newCharger, openFunded, receiptDraft } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());
afterEach(async () => {
  expect(await checkLedger(database.sql)).toMatchObject({ discrepancies: [], isBalanced: true });
});

const balanceOf = async (accountId: string) =>
  (await createLedger({ sql: database.sql }).balance(accountId))?.balance;

/** All of them in one batch, as they come in one turn. */
function chargeAll(sql: Sql, requests: readonly HoldRequest[]) {
  const charger = newCharger(sql);
  return Promise.all(requests.map((request) => charger.charge(request, receiptDraft(request.id))));
}

test('a copy of a charge that would not fit takes nothing, and keeps nobody behind it from what is left', async () => {
  for (const [amount, last] of [
    [20, { kind: 'held', rest: 0n }],
    [50, { kind: 'insufficient', available: 20n }],
  ] as const) {
    const accountId = await openFunded(database.sql, 120);
    const request = holdRequest(accountId, 100);
    const results = await chargeAll(database.sql, [request, { ...request }, holdRequest(accountId, amount)]);
    expect(results).toEqual([{ kind: 'held', rest: 20n }, { kind: 'held' }, last]);
    expect(await balanceOf(accountId)).toBe(last.kind === 'held' ? 0n : 20n);
  }
});

test('one id for charges of two accounts in one batch is charged to the first alone', async () => {
  for (let round = 0; round < 4; round++) {
    const [first, second] = [await openFunded(database.sql, 120), await openFunded(database.sql, 120)];
    const id = newUuid();
    const results = await chargeAll(database.sql, [
      holdRequest(first, 100, id),
      holdRequest(second, 100, id),
    ]);
    expect(results.map(({ kind }) => kind)).toEqual(['held', 'held']);
    expect([await balanceOf(first), await balanceOf(second)]).toEqual([20n, 120n]);
    expect(await database.sql`SELECT 1 FROM ledger_hold WHERE id = ${id}`).toHaveLength(1);
  }
});

/** Whose first statement goes out, and whose answer to it is lost at once. */
function losingFirst(sql: Sql): { sql: Sql; lost: Promise<unknown>[] } {
  const lost: Promise<unknown>[] = [];
  const unsafe = (...sent: Parameters<Sql['unsafe']>) => {
    const answer = sql.unsafe(...sent);
    if (lost.length > 0) return answer;
    lost.push(Promise.resolve(answer));
    throw Object.assign(new Error('write CONNECTION_CLOSED'), { code: 'CONNECTION_CLOSED' });
  };
  const get = (target: Sql, name: string | symbol) =>
    name === 'unsafe' ? unsafe : Reflect.get(target, name, target);
  return { sql: new Proxy(sql, { get }), lost };
}

type LostCase = { funded: number; left: bigint; isRevoked?: boolean; total?: number };

test.each<[string, LostCase]>([
  ['money that it took is not missed', { funded: 100, left: 0n }],
  ['a key that was revoked after it is not asked about', { funded: 500, left: 400n, isRevoked: true }],
  ['a cap that it used up does not refuse it', { funded: 500, left: 400n, total: 100 }],
])('by a charge whose answer was lost, sent again: %s', async (_, { funded, left, isRevoked, total }) => {
  const accountId = await openFunded(database.sql, funded);
  const capIds = total === undefined ? [] : [newUuid()];
  for (const id of capIds) {
    const caps = { total: millicents(total ?? 0) };
    await withTransaction(database.sql, (tx) =>
      createLedger({ sql: database.sql }).openCap(tx, { id, accountId }, caps),
    );
  }
  const keys = createKeys({ sql: database.sql, clock: systemClock });
  const { id: keyId } = await withTransaction(database.sql, (tx) =>
    keys.issue(tx, { keyText: newKeyText(), accountId, scopes: ['all'] }),
  );
  const pool = openDatabase({ url: database.url, poolMax: 4, applicationName: 'losing' });
  const losing = losingFirst(pool.sql);
  try {
    let charging: ReturnType<typeof chargeAll> | undefined;
    await database.sql.begin(async (other) => {
      await other`SELECT 1 FROM ledger_payer WHERE id = ${accountId} FOR UPDATE`;
      charging = chargeAll(losing.sql, [{ ...holdRequest(accountId, 100), keyId, capIds }]);
      await untilWaiting(1);
      if (isRevoked) await keys.revoke({ accountId, keyId });
      // Until both tries wait behind this one, the second with a view of the time before the first.
      await untilWaiting(2);
    });
    // Whichever of the two the server let through first: it took it, once.
    expect(await charging).toMatchObject([{ kind: 'held' }]);
    await Promise.all(losing.lost);
    expect(await balanceOf(accountId)).toBe(left);
  } finally {
    await pool.close();
  }
});

async function untilWaiting(count: number): Promise<void> {
  for (;;) {
    const waiting = await database.sql`
      SELECT 1 FROM pg_stat_activity WHERE application_name = 'losing' AND wait_event_type = 'Lock'`;
    if (waiting.length >= count) return;
    await sleep(20);
  }
}
