import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { withTransaction } from '../../src/db/index.ts';
import { createLedger } from '../../src/ledger/index.ts';
import { createAnswers } from '../../src/payments/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, openFunded } from './fixtures.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => vi.useRealTimers());
afterAll(() => database.close());

/** The wall clock of this gateway is wrong; that of the database is not. */
const shiftClock = (byMs: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + byMs });

describe.each([
  ['two days behind', -2 * DAY_MS],
  ['two days ahead', 2 * DAY_MS],
])('at a gateway whose clock is %s', (_name, offsetMs) => {
  test('a claimed hold expires when its time is up, and not before', async () => {
    const ledger = createLedger({ sql: database.sql });
    const accountId = await openFunded(database.sql, 1_000);
    const lasting = holdRequest(accountId, 100);
    const over = { ...holdRequest(accountId, 100), lifetimeMs: -1_000 };
    shiftClock(offsetMs);
    for (const request of [lasting, over]) {
      await withTransaction(database.sql, (tx) => ledger.holdBalance(tx, request));
    }
    expect(await ledger.expireDue()).toBe(1);
    const states = await Promise.all([lasting, over].map(({ id }) => ledger.hold(database.sql, id)));
    expect(states.map((hold) => hold?.state)).toEqual(['held', 'expired']);
  });

  test('what a call brought is available when its time has come, and not before', async () => {
    const ledger = createLedger({ sql: database.sql });
    const accountId = await openFunded(database.sql, 1_000);
    const payeeId = newUuid();
    const [now, later] = [1, 2].map(() => ({ ...holdRequest(accountId, 100), payeeId })) as [
      ReturnType<typeof holdRequest>,
      ReturnType<typeof holdRequest>,
    ];
    shiftClock(offsetMs);
    await withTransaction(database.sql, async (tx) => {
      await ledger.openPublisher(tx, payeeId);
      await ledger.holdBalance(tx, now);
      await ledger.capture(tx, now.id, 0);
      await ledger.holdBalance(tx, later);
      await ledger.capture(tx, later.id, DAY_MS);
    });
    const { earned, available } = await ledger.earnings(payeeId);
    expect({ earned, available }).toEqual({
      earned: now.amount - now.fee + later.amount - later.fee,
      available: now.amount - now.fee,
    });
  });

  test('a stored answer is there for a day, and no longer', async () => {
    const answers = createAnswers({ sql: database.sql, secrets: [Buffer.alloc(32, 7)] });
    const [fresh, old] = [newUuid(), newUuid()];
    shiftClock(offsetMs);
    for (const id of [fresh, old]) {
      const answer = { id, payer: 'payer', body: '"answer"', isPaid: true };
      await withTransaction(database.sql, (tx) => answers.store(tx, answer));
    }
    await withTransaction(database.sql, (tx) => answers.startClock(tx, fresh));
    await database.sql`UPDATE payment_answer SET expires_at = expires_at - interval '1 day 1 second' WHERE id = ${old}`;
    expect([await answers.load(fresh), await answers.load(old)]).toEqual(['"answer"', undefined]);
    expect(await answers.prune()).toBe(1);
    expect(await answers.load(fresh)).toBe('"answer"');
  });
});
